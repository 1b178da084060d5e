//! Frames: independent zstd frames with content size and checksum (RFC 8878 §3.1.1), and skippable frames (§3.1.2).

use std::io;

use bytes::Bytes;
use zstd::zstd_safe::{CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, Strategy};

use super::{Error, Result, at_most};
use crate::convert;

/// No frame holds more decompressed bytes. Frames are planned at [`TARGET_BYTES`], and a file that is not split adds
/// at most as much again; the rest is room for headers.
pub const MAX_RAW_BYTES: u32 = 16 << 20;
/// No frame is larger as stored: what zstd makes of so many bytes that do not shrink (`ZSTD_COMPRESSBOUND`).
pub const MAX_STORED_BYTES: u32 = MAX_RAW_BYTES + (MAX_RAW_BYTES >> 8);

/// What the frames of an archive are filled up to. Smaller ones compress worse (2 MiB: 1 to 2 % more bytes) and cost
/// requests to fetch alone, larger ones make a change of one file expensive to fetch and keep fewer cores busy.
pub const TARGET_BYTES: usize = 4 << 20;

/// The level that is meant if none is given.
pub const DEFAULT_LEVEL: i32 = 3;

/// How a frame is looked at before it is compressed: so many samples of so many bytes, evenly spread.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 16 << 10;

/// A compressor that is used again for one frame after the other.
pub struct Encoder {
    level: i32,
    normal: zstd::bulk::Compressor<'static>,
    hasty: zstd::bulk::Compressor<'static>,
    /// What a frame is compressed into; as long as a frame may become.
    out: Vec<u8>,
}

impl Encoder {
    /// A compressor at zstd level `level` (-7 to 19).
    pub fn new(level: i32) -> io::Result<Self> {
        let mut normal = compressor(level)?;
        if level == DEFAULT_LEVEL {
            tune(&mut normal)?;
        }
        Ok(Self { level, normal, hasty: compressor(HASTY_LEVEL)?, out: Vec::new() })
    }

    /// Compresses `raw` into one frame. What does not shrink is passed through at the cheapest level, which leaves
    /// content as it is and still squeezes the headers between.
    pub fn encode(&mut self, raw: &[u8]) -> io::Result<Bytes> {
        let is_noise = self.level > HASTY_LEVEL && raw.len() >= 4 * SAMPLES * SAMPLE_BYTES && self.is_noise(raw)?;
        let compressor = if is_noise { &mut self.hasty } else { &mut self.normal };
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, &mut self.out)?;
        // Frames wait for their upload: they hold no more memory than they have bytes. Noise is not worth a copy.
        Ok(if is_noise { std::mem::take(&mut self.out).into() } else { Bytes::copy_from_slice(&self.out) })
    }

    fn is_noise(&mut self, raw: &[u8]) -> io::Result<bool> {
        let mut stored = 0;
        for sample in raw.chunks_exact(raw.len() / SAMPLES).take(SAMPLES) {
            let middle = (sample.len() - SAMPLE_BYTES) / 2;
            stored += self.hasty.compress(&sample[middle..middle + SAMPLE_BYTES])?.len();
        }
        Ok(stored > SAMPLES * SAMPLE_BYTES / 100 * 90)
    }
}

/// Faster than memory can be copied on bytes without repetition, and enough for tar headers.
const HASTY_LEVEL: i32 = -5;

fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

/// About what zstd's own level 3 gives, for a fifth to a quarter less time: its fast strategy with a window over the whole
/// frame and a table that still fits the second cache of a core. Against level 3 in the same run, `node_modules` takes
/// 0.80 of the time for 1.04 of the bytes, cargo `target/` 0.75 for 1.05; level 1 takes 0.74 and 0.67 for 1.17 and 1.15
/// (2026-11-28, `level_scale` in `tests/it`, which tells how to run it).
fn tune(compressor: &mut zstd::bulk::Compressor<'static>) -> io::Result<()> {
    compressor.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast))?;
    compressor.set_parameter(CParameter::WindowLog(TARGET_BYTES.ilog2()))?;
    compressor.set_parameter(CParameter::HashLog(16))?;
    compressor.set_parameter(CParameter::MinMatch(7))
}

/// A decompressor that is used again for one frame after the other.
pub struct Decoder(DCtx<'static>);

impl Decoder {
    /// A new decompressor.
    pub fn new() -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        // A frame in pieces is decompressed into its place, too, and not through a window of its own.
        context.set_parameter(DParameter::StableOutBuffer(true)).map_err(zstd_error)?;
        Ok(Self(context))
    }

    /// Decompresses one frame, which must come to exactly `raw_bytes`, into `out`.
    pub fn decode(&mut self, frame: &[u8], raw_bytes: u32, out: &mut Vec<u8>) -> Result<()> {
        let wanted = clear(out, raw_bytes)?;
        let got = self.0.decompress(out, frame).map_err(damaged)?;
        check_length(got, wanted)
    }

    /// The same of a frame in pieces, which need not be put together first.
    pub fn decode_pieces(&mut self, frame: &[Bytes], raw_bytes: u32, out: &mut Vec<u8>) -> Result<()> {
        if let [whole] = frame {
            return self.decode(whole, raw_bytes, out);
        }
        let wanted = clear(out, raw_bytes)?;
        self.0.reset(ResetDirective::SessionOnly).map_err(damaged)?;
        let mut output = OutBuffer::around(out);
        let mut is_complete = false;
        for piece in frame {
            let mut input = InBuffer::around(piece);
            while input.pos() < piece.len() {
                if is_complete {
                    return Err(Error::damaged("frame", "something follows it"));
                }
                let before = (input.pos(), output.pos());
                is_complete = self.0.decompress_stream(&mut output, &mut input).map_err(damaged)? == 0;
                if !is_complete && before == (input.pos(), output.pos()) {
                    return Err(Error::damaged("frame", format!("does not fit into {wanted} bytes")));
                }
            }
        }
        let got = output.pos();
        match is_complete {
            true => check_length(got, wanted),
            false => Err(Error::damaged("frame", "it breaks off")),
        }
    }
}

/// Makes room for a frame.
fn clear(out: &mut Vec<u8>, raw_bytes: u32) -> Result<usize> {
    at_most("the length of a frame decompressed", raw_bytes.into(), MAX_RAW_BYTES.into())?;
    let wanted = raw_bytes as usize;
    out.clear();
    out.reserve(wanted);
    Ok(wanted)
}

fn check_length(got: usize, wanted: usize) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    Err(Error::damaged("frame", format!("decompresses to {got} bytes instead of {wanted}")))
}

fn damaged(code: usize) -> Error {
    Error::damaged("frame", zstd::zstd_safe::get_error_name(code))
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(zstd::zstd_safe::get_error_name(code))
}

/// The magic number of the skippable frame `nibble` (0 to 15).
pub const fn skippable_magic(nibble: u8) -> u32 {
    0x184D_2A50 | nibble as u32
}

/// Puts `payload` into a skippable frame, which every zstd decoder passes over.
pub fn skippable(nibble: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("indexes are limited to far less than 4 GiB");
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.extend_from_slice(&skippable_magic(nibble).to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The payload of the skippable frame `nibble` that fills `bytes` exactly.
pub fn skippable_payload<'a>(nibble: u8, bytes: &'a [u8], part: &'static str) -> Result<&'a [u8]> {
    let (head, payload) = bytes.split_at_checked(8).ok_or_else(|| Error::damaged(part, "too short"))?;
    let mut expected = skippable_magic(nibble).to_le_bytes().to_vec();
    expected.extend_from_slice(&convert::number(payload.len()).to_le_bytes());
    if head != expected {
        return Err(Error::damaged(part, "no skippable frame of the expected kind and length"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_carry_size_and_checksum() {
        let text = b"tar tar tar ".repeat(50_000);
        let mut noise = vec![0; 700_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for raw in [&text, &noise, &Vec::new()] {
            let frame = Encoder::new(3).unwrap().encode(raw).unwrap();
            let mut out = Vec::new();
            Decoder::new().unwrap().decode(&frame, raw.len() as u32, &mut out).unwrap();
            assert_eq!(&out, raw);
            assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(raw.len() as u64));
            assert_eq!(frame[4] & 4, 4, "checksum flag");
        }
    }

    #[test]
    fn noise_is_passed_through_and_all_else_is_compressed() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text: Vec<u8> = (0..200_000u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let half = [&noise[..], &text[..]].concat();
        for level in [DEFAULT_LEVEL, 1, 9] {
            let mut encoder = Encoder::new(level).unwrap();
            for (raw, is_noise) in [(&noise, true), (&text, false), (&half, false)] {
                assert_eq!(encoder.is_noise(raw).unwrap(), is_noise, "{} bytes at {level}", raw.len());
            }
            assert!(encoder.encode(&noise).unwrap().len() < noise.len() + 1000);
            assert!(encoder.encode(&text).unwrap().len() < text.len() / 2);
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let raw = b"some content, some content".repeat(10);
        let frame = Encoder::new(3).unwrap().encode(&raw).unwrap();
        let mut out = Vec::new();
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let decoded = Decoder::new().unwrap().decode(&bad, raw.len() as u32, &mut out);
            assert!(decoded.is_err() || out == raw, "bit {bit}");
        }
    }

    #[test]
    fn frames_in_pieces_of_any_size_are_as_good_as_whole_ones() {
        let text = b"tar tar tar ".repeat(50_000);
        let mut noise = vec![0; 700_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (mut decoder, mut out) = (Decoder::new().unwrap(), Vec::new());
        for raw in [&text, &noise, &b"x".to_vec()] {
            let frame = Encoder::new(3).unwrap().encode(raw).unwrap();
            let raw_bytes = raw.len() as u32;
            for size in [1, 7, 1000, 128 << 10, 1 << 20] {
                let cut = |frame: &Bytes| -> Vec<Bytes> {
                    (0..frame.len()).step_by(size).map(|at| frame.slice(at..frame.len().min(at + size))).collect()
                };
                let pieces = cut(&frame);
                decoder.decode_pieces(&pieces, raw_bytes, &mut out).unwrap();
                assert_eq!(&out, raw, "{size}");
                for wrong in [raw_bytes - 1, raw_bytes + 1] {
                    assert!(decoder.decode_pieces(&pieces, wrong, &mut out).is_err());
                }
                assert!(decoder.decode_pieces(&cut(&frame.slice(..frame.len() - 1)), raw_bytes, &mut out).is_err());
                let longer = Bytes::from([&frame[..], &frame[..]].concat());
                assert!(decoder.decode_pieces(&cut(&longer), raw_bytes, &mut out).is_err());
                let mut damaged = frame.to_vec();
                damaged[frame.len() / 2] ^= 1;
                let decoded = decoder.decode_pieces(&cut(&damaged.into()), raw_bytes, &mut out);
                assert!(decoded.is_err() || &out == raw, "{size}");
            }
        }
        assert!(decoder.decode_pieces(&[], 0, &mut out).is_err());
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let frame = Encoder::new(3).unwrap().encode(&[0; 1000]).unwrap();
        let mut out = Vec::new();
        for wrong in [0, 999, 1001, MAX_RAW_BYTES + 1] {
            assert!(Decoder::new().unwrap().decode(&frame, wrong, &mut out).is_err());
        }
    }
}
