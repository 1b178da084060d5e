//! Numbers as headers and records have them.

use super::super::{Error, Result};

/// A number of a header that cannot be negative.
pub(super) fn number(field: &[u8]) -> Result<u64> {
    u64::try_from(signed_number(field)?).map_err(|_| damaged("a number in a header is negative"))
}

/// A number of a header: octal text, or, with the first bit set, base 256 in two's complement (GNU tar).
pub(super) fn signed_number(field: &[u8]) -> Result<i64> {
    let bad = || damaged("a number in a header is wrong");
    match field {
        [first @ 0x80..=0xff, rest @ ..] => {
            let sign = if first & 0x40 == 0 { 0 } else { !0x3f };
            let start = sign | i64::from(first & 0x3f);
            let shift = |value: i64, byte: &u8| value.checked_mul(256).map(|value| value | i64::from(*byte));
            rest.iter().try_fold(start, shift).ok_or_else(bad)
        }
        _ => {
            let text = field.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii();
            // Nothing at all is what some writers mean by zero.
            text.iter()
                .try_fold(0_i64, |value, byte| match byte {
                    b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
                    _ => None,
                })
                .ok_or_else(bad)
        }
    }
}

/// Digits, and nothing else. At most `i64::MAX`, the limit of file sizes and offsets.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let number = text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    });
    number.filter(|&number| !text.is_empty() && i64::try_from(number).is_ok())
}

/// What the errors are about.
pub(super) const PART: &str = "archive";

pub(super) fn damaged(reason: &str) -> Error {
    Error::damaged(PART, reason)
}
