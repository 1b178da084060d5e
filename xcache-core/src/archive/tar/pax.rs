//! The records of pax headers: `length keyword=value`, each with a line feed behind it that is not part of the value.

use std::collections::BTreeMap;

use super::super::Result;
use super::super::index::{Xattrs, is_kept_xattr};
use super::number::{damaged, decimal};
use super::sparse;

/// What the pax headers before a member say of it. Records that are of no use to a restore are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Seconds, and nanoseconds after them.
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) xattrs: XattrRecords,
    /// Whether it has an access control list in the form of text, with the names of users.
    pub(super) has_acl: bool,
    pub(super) sparse: sparse::Records,
}

/// Extended attributes by the writer that they have their form from.
#[derive(Clone, Debug, Default)]
pub(super) struct XattrRecords {
    star: BTreeMap<Vec<u8>, Vec<u8>>,
    libarchive: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Pax {
    /// Reads the records of one header. An empty value takes back what a global header said.
    pub(super) fn read(&mut self, mut header: &[u8]) -> Result<()> {
        while let Some((keyword, value)) = record(&mut header)? {
            let text = || (!value.is_empty()).then(|| value.to_vec());
            match keyword {
                b"path" => self.path = text(),
                b"linkpath" => self.link = text(),
                b"size" => self.size = optional(value)?,
                b"uid" => self.uid = optional(value)?,
                b"gid" => self.gid = optional(value)?,
                b"mtime" if value.is_empty() => self.mtime = None,
                b"mtime" => self.mtime = Some(time(value).ok_or_else(|| damaged("a time is wrong"))?),
                b"SCHILY.acl.access" | b"SCHILY.acl.default" | b"SCHILY.acl.ace" => self.has_acl = true,
                _ => {
                    if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.star(name, value);
                    } else if let Some(name) = keyword.strip_prefix(b"LIBARCHIVE.xattr.") {
                        self.xattrs.libarchive(name, value)?;
                    } else if let Some(keyword) = keyword.strip_prefix(b"GNU.sparse.") {
                        self.sparse.read(keyword, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// For global headers: attributes and maps belong to one member. Without them, what many global headers add up to
    /// is bounded, too.
    pub(super) fn keep_what_all_may_share(&mut self) {
        self.xattrs = XattrRecords::default();
        self.has_acl = false;
        self.sparse = sparse::Records::default();
    }
}

impl XattrRecords {
    fn star(&mut self, name: &[u8], value: &[u8]) {
        if is_kept_xattr(name) {
            // GNU tar writes `=`, which would end the keyword, and `%` this way.
            let name = unescape(name, |byte| matches!(byte, b'=' | b'%'));
            self.star.insert(name, value.to_vec());
        }
    }

    fn libarchive(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let name = unescape(name, |_| true);
        if is_kept_xattr(&name) {
            let value = base64(value).ok_or_else(|| damaged("an extended attribute is wrong"))?;
            self.libarchive.insert(name, value);
        }
        Ok(())
    }

    /// libarchive writes both forms, and only its own can hold every name.
    pub(super) fn into_xattrs(self) -> Xattrs {
        let Self { star, libarchive } = self;
        let attributes = if libarchive.is_empty() { star } else { libarchive };
        attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// Takes the first record: keyword and value.
fn record<'a>(header: &mut &'a [u8]) -> Result<Option<(&'a [u8], &'a [u8])>> {
    if header.is_empty() {
        return Ok(None);
    }
    let split = || {
        let space = header.iter().take(20).position(|&byte| byte == b' ')?;
        let length = usize::try_from(decimal(&header[..space])?).ok()?;
        let (record, rest) = header.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        Some((&record[..equals], &record[equals + 1..], rest))
    };
    let (keyword, value, rest) = split().ok_or_else(|| damaged("a pax header is malformed"))?;
    *header = rest;
    Ok(Some((keyword, value)))
}

fn optional(value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or_else(|| damaged("a number in a pax header is wrong"))
}

/// `-1.5` as seconds and nanoseconds after them. Digits after the ninth are cut off.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos = u32::try_from(decimal(digits.as_bytes())?).ok()?;
    match text.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

/// Undoes `%3D` for those bytes that the writer escapes; anything else stands for itself.
fn unescape(text: &[u8], is_escaped: impl Fn(u8) -> bool) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped.filter(|&byte| is_escaped(byte)) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[2..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// Decodes base64 of the common alphabet, with or without `=` at its end.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let mut decoded = Vec::with_capacity(end / 4 * 3 + 2);
    for group in text[..end].chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        match group.len() {
            1 => return None,
            length => decoded.extend_from_slice(&bits.to_be_bytes()[1..length]),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_exact() {
        assert_eq!(time(b"1.000000005"), Some((1, 5)));
        assert_eq!(time(b"1.0000000059"), Some((1, 5)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-0.000000001"), Some((-1, 999_999_999)));
        assert_eq!(time(b"-7"), Some((-7, 0)));
        for bad in [&b"x"[..], b"", b"1.x", b"1.-5", b"99999999999999999999", b"\xff"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn values_may_hold_any_bytes() {
        let mut pax = Pax::default();
        pax.read(b"24 SCHILY.xattr.user.a=\n25 SCHILY.xattr.user.b=\n\n34 SCHILY.xattr.user.c=\0\xff=\n9 a=b\n\n16 path=new\nlin\n")
            .unwrap();
        assert_eq!(pax.path.unwrap(), b"new\nlin");
        let values: Vec<_> = pax.xattrs.into_xattrs().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [Box::from(*b""), Box::from(*b"\n"), Box::from(*b"\0\xff=\n9 a=b\n")]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            "x",
            "5 a=b",
            "7 a=b\n",
            "5 ab=\n",
            "6 ab=\n6",
            "06 a=\n\n ",
            "-6 a=b\n",
            "99999999999999999999 a=b\n",
            " a=b\n",
        ] {
            assert!(Pax::default().read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_value_takes_back_what_was_said_of_all() {
        let mut pax = Pax::default();
        pax.read(b"8 uid=7\n11 mtime=1\n").unwrap();
        pax.read(b"7 uid=\n9 mtime=\n").unwrap();
        assert_eq!((pax.uid, pax.mtime), (None, None));
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in
            [("", &b""[..]), ("YQ", b"a"), ("YQ==", b"a"), ("YWI", b"ab"), ("YWJj", b"abc"), ("AP89Cg", b"\0\xff=\n")]
        {
            assert_eq!(base64(text.as_bytes()).unwrap(), bytes, "{text}");
        }
        for bad in ["Y", "YWJjY", "Y!"] {
            assert_eq!(base64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn names_of_attributes_are_unescaped_as_their_writers_escape() {
        assert_eq!(unescape(b"a%3Db%25%20c%", |byte| matches!(byte, b'=' | b'%')), b"a=b%%20c%");
        assert_eq!(unescape(b"a%3Db%20c%zz%4", |_| true), b"a=b c%zz%4");
    }
}
