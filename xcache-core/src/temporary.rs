//! The names of what a restore has not finished: files in the making, what was set aside, and its mark in a root.
//!
//! A process that is killed leaves some of them behind. They must never be saved, and the next restore removes them; but
//! a file of the user that merely looks alike must survive both. So a name carries a checksum of itself, which no other
//! file has by accident: `.xcache-<run>-<number>-<checksum>`.

/// What all of them begin with.
const PREFIX: &str = ".xcache-";

/// The name of number `number` of the run `run`, a random number that no other run has.
pub fn name(run: u64, number: u64) -> Vec<u8> {
    let body = format!("{run:016x}-{number}");
    format!("{PREFIX}{body}-{}", checksum(&body)).into_bytes()
}

/// The run that gave this name, if a restore did.
pub fn run_of(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name.strip_prefix(PREFIX.as_bytes())?).ok()?;
    let (body, found) = text.rsplit_once('-')?;
    let (run, _) = body.split_once('-')?;
    if found != checksum(body) {
        return None;
    }
    u64::from_str_radix(run, 16).ok()
}

fn checksum(body: &str) -> String {
    let hash = blake3::Hasher::new().update(b"xcache temporary ").update(body.as_bytes()).finalize();
    hash.to_hex()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_and_those_that_merely_look_alike_are_not() {
        for (run, number) in [(0, 0), (7, 12), (u64::MAX, u64::MAX)] {
            let ours = name(run, number);
            assert_eq!(run_of(&ours), Some(run));
            for length in 0..ours.len() {
                assert_eq!(run_of(&ours[..length]), None);
            }
            for at in 0..ours.len() {
                let mut other = ours.clone();
                other[at] ^= 1;
                assert_eq!(run_of(&other), None, "{}", String::from_utf8_lossy(&other));
            }
        }
        for other in [".xcache-", ".xcache-notes", ".xcache-0123456789abcdef-1", ".xcache-0123456789abcdef-1-00000000"]
        {
            assert_eq!(run_of(other.as_bytes()), None, "{other}");
        }
    }
}
