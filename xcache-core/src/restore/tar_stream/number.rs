//! Numbers as text.

/// Digits, and nothing else. At most `i64::MAX`, the limit of file sizes and offsets.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let number = text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    });
    number.filter(|&number| !text.is_empty() && i64::try_from(number).is_ok())
}
