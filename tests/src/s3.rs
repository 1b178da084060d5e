//! Real S3 servers on loopback, started by `tests/support/s3-server` and shared by all tests of a run.
//!
//! `tests/run` starts the servers, passes their addresses in the environment and stops them at the end. Tests started
//! in any other way start them on demand and leave them running for the next run; `tests/support/s3-server down` stops
//! them. Tests keep out of each other's way by prefixes ([`crate::place::Place`]), never by buckets.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A running server and what it takes to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Server {
    /// Its name: `seaweedfs`, `ministack`, `moto`, `rclone` or `given`.
    pub name: &'static str,
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// A bucket that exists.
    pub bucket: &'static str,
    /// The region of the bucket.
    pub region: &'static str,
    /// A user who may do everything.
    pub access_key: &'static str,
    /// The secret of that user.
    pub secret_key: &'static str,
}

/// A user of SeaweedFS who may read and list, but not write: access key and secret. Ministack lets everybody do
/// everything.
pub const READER: (&str, &str) = ("xcachereader", "xcachereadersecret");

/// A user of SeaweedFS with the rights of a pull request as `docs/permissions.md` gives them: reads all, and writes in the
/// scopes of pull requests below the prefix `trust`.
pub const PULL_REQUEST: (&str, &str) = ("xcachepull", "xcachepullsecret");

/// SeaweedFS: a storage system in its own right. Conditional completion of multipart uploads is not atomic there.
pub fn server() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start("seaweedfs", "XCACHE_TEST_SEAWEEDFS"))
}

/// Ministack: an emulator as strict as AWS about conditional multipart uploads. It does not check credentials.
pub fn ministack() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start("ministack", "XCACHE_TEST_MINISTACK"))
}

/// Moto: another emulator of AWS, whose STS gives roles. It does not check credentials.
pub fn moto() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start("moto", "XCACHE_TEST_MOTO"))
}

/// Rclone, which serves a directory: without tags, conditions and versions.
pub fn rclone() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start("rclone", "XCACHE_TEST_RCLONE"))
}

/// The servers on which what must hold on each is tried.
pub fn servers() -> [&'static S3Server; 2] {
    [server(), ministack()]
}

/// The server of `XCACHE_TEST_S3=url,key,secret,region,bucket`, if there is one: for trying any other.
pub fn given() -> Option<&'static S3Server> {
    static SERVER: OnceLock<Option<S3Server>> = OnceLock::new();
    let read = || {
        let text: &'static str = std::env::var("XCACHE_TEST_S3").ok()?.leak();
        let fields: Vec<&'static str> = text.split(',').collect();
        let [endpoint, access_key, secret_key, region, bucket] = fields[..] else {
            panic!("XCACHE_TEST_S3 is url,key,secret,region,bucket");
        };
        Some(S3Server { name: "given", endpoint: endpoint.to_owned(), bucket, region, access_key, secret_key })
    };
    SERVER.get_or_init(read).as_ref()
}

impl S3Server {
    /// The environment that points an AWS client at the server.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.to_owned()),
            ("AWS_REGION", self.region.to_owned()),
        ]
    }

    /// The same server under another address: a proxy in front of it.
    #[must_use]
    pub fn behind(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }
}

/// A file in `tests/support`.
pub fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("support").join(name)
}

fn start(name: &'static str, variable: &str) -> S3Server {
    let endpoint = std::env::var(variable).unwrap_or_else(|_| {
        let output = Command::new(support("s3-server"))
            .args(["up", name])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("python3 runs tests/support/s3-server");
        assert!(output.status.success(), "tests/support/s3-server cannot start {name}");
        String::from_utf8(output.stdout).expect("an address is text").trim().to_owned()
    });
    S3Server {
        name,
        endpoint,
        bucket: "xcache-test",
        region: "us-east-1",
        access_key: "xcachetest",
        secret_key: "xcachetestsecret",
    }
}
