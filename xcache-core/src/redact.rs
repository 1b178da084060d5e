//! Secrets, and addresses that may hold one: what a user has given as a store, an endpoint or a git remote.
//!
//! People write keys into them (`s3://key:secret@bucket`, `https://token@host/repository`), and such a text is then about to be
//! printed in the very message that says what is wrong with it. So the type decides what is shown: neither its `Display` nor
//! its `Debug` has anything in front of an `@` or after a `?`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// An address as it was given, not yet checked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GivenAddress(String);

impl GivenAddress {
    /// The text with whatever is in it. Not for messages.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text`, which another program has written about this address, without what is secret in it.
    pub fn redact_in(&self, text: &str) -> String {
        let mut text = text.replace(&self.0, &self.to_string());
        let (_, user, _, query) = self.pieces();
        let secrets = [user, user.and_then(|user| user.split_once(':')).map(|(_, password)| password), query];
        for secret in secrets.into_iter().flatten().filter(|secret| secret.len() >= SHORTEST_SECRET) {
            text = text.replace(secret, HIDDEN);
        }
        text
    }

    /// The scheme with its `://`, what stands in front of the last `@`, the address itself, what follows a `?`.
    fn pieces(&self) -> (&str, Option<&str>, &str, Option<&str>) {
        let (scheme, rest) = match self.0.find("://") {
            Some(at) => self.0.split_at(at + 3),
            None => ("", self.0.as_str()),
        };
        // A secret may hold any of the characters that end an address, so the last `@` counts, wherever it stands.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        match rest.split_once(['?', '#']) {
            Some((rest, query)) => (scheme, user, rest, Some(query)),
            None => (scheme, user, rest, None),
        }
    }
}

const HIDDEN: &str = "***";

/// Shorter ones, such as the user `git`, are words that a message may have for other reasons.
const SHORTEST_SECRET: usize = 4;

impl fmt::Display for GivenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user, rest, query) = self.pieces();
        let user = if user.is_some() { "***@" } else { "" };
        let query = if query.is_some() { "?***" } else { "" };
        // No bucket has a colon in its name, so what follows one is meant as a key, with the `@` forgotten.
        let bucket = rest.split('/').next().unwrap_or_default();
        match bucket.split_once(':').filter(|_| scheme == "s3://") {
            Some((name, _)) => write!(f, "{scheme}{user}{name}:***{}{query}", &rest[bucket.len()..]),
            None => write!(f, "{scheme}{user}{rest}{query}"),
        }
    }
}

impl fmt::Debug for GivenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenAddress({self})")
    }
}

impl From<&str> for GivenAddress {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromStr for GivenAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

/// Every secret that the process has come to know. Who was sent one may repeat it, in the text of an error above all.
static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shorter ones are parts of other words; no credentials are that short.
const SHORTEST_KNOWN: usize = 8;

/// Notes a secret, so that [`hide`] hides it.
pub fn know(secret: &str) {
    if secret.len() >= SHORTEST_KNOWN {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
    }
}

/// `text` without the secrets that are known: for everything that leaves the process.
pub fn hide(text: &str) -> Cow<'_, str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().filter(|secret| text.contains(secret.as_str()));
    found.fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret.as_str(), HIDDEN)))
}

/// A text that must not be seen: its `Debug` and `Display` do not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        know(&text);
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for (given, shown) in [
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("s3://key:hush@bucket", "s3://***@bucket"),
            ("s3://key:hu/sh?hush#hush@bucket/p", "s3://***@bucket/p"),
            ("s3://bucket:hush/prefix", "s3://bucket:***/prefix"),
            ("http://host:9000/path", "http://host:9000/path"),
            ("key:hush@host:9000", "***@host:9000"),
            ("https://host/path?token=hush", "https://host/path?***"),
            ("https://user:hush@host/path?hush", "https://***@host/path?***"),
            ("host#hush", "host?***"),
            ("git@host:owner/repository", "***@host:owner/repository"),
            ("origin", "origin"),
            ("/srv/repository", "/srv/repository"),
            ("", ""),
        ] {
            let address = GivenAddress::from(given);
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hush"), "{address:?}");
        }
    }

    #[test]
    fn what_other_programs_say_of_an_address_is_redacted() {
        let address = GivenAddress::from("https://x-access-token:hush-hush@host/repository?sig=quiet");
        let said = "fatal: unable to access 'https://x-access-token:hush-hush@host/repository?sig=quiet/': \
                    password hush-hush of x-access-token:hush-hush, sig=quiet";
        let shown = address.redact_in(said);
        assert!(!shown.contains("hush") && !shown.contains("quiet"), "{shown}");
        assert!(shown.contains("unable to access 'https://***@host/repository?***/'"), "{shown}");
        assert_eq!(GivenAddress::from("git@host:r").redact_in("git says no"), "git says no");
    }
}
