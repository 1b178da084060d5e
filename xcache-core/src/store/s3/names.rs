//! Names and numbers as S3 writes them in headers and listings.

/// Percent-encodes for a query string: everything but letters, digits and `-_.~`.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A name from a listing, which comes form-encoded (`+` is a space) if the answer says so.
pub(super) fn decode(text: &str, is_encoded: bool) -> Option<String> {
    if !is_encoded {
        return Some(text.to_owned());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Offset and size of the whole from `bytes 5-9/200`.
pub(super) fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, size) = (start.parse().ok()?, end.parse::<u64>().ok()?, size.parse().ok()?);
    (start <= end && end < size).then_some((start, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went() {
        for name in ["a+b c/d%20?#é🦀,~", "", "%"] {
            assert_eq!(decode(&encode(name), true).as_deref(), Some(name));
            assert_eq!(decode(name, false).as_deref(), Some(name));
        }
        assert_eq!(decode("a+b", true).as_deref(), Some("a b"));
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(wrong, true), None, "{wrong}");
        }
    }

    #[test]
    fn content_ranges_are_checked() {
        assert_eq!(content_range("bytes 5-9/200"), Some((5, 200)));
        for wrong in ["bytes 9-5/200", "bytes 5-200/200", "bytes */200", "5-9/200", "bytes 5-9/*", ""] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
