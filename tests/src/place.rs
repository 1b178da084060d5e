//! Where a test keeps its objects: a directory, or a prefix of its own on an S3 server.
//!
//! The objects are reached without the product: as files, or with `curl`, so that a test can put what others made,
//! damage what we made, and look at what is really there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io::Write as _};

use tempfile::TempDir;

use crate::s3::{self, S3Server};

/// A store of one test, empty at first.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    url: String,
}

#[derive(Debug)]
enum Kind {
    Local(Arc<TempDir>, PathBuf),
    S3 { server: S3Server, prefix: String },
}

impl Place {
    /// A directory, removed at the end.
    pub fn local() -> Self {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let url = format!("file://{}", dir.path().display());
        let path = dir.path().to_owned();
        Self { kind: Kind::Local(Arc::new(dir), path), url }
    }

    /// A directory that the test looks after.
    pub fn at(directory: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let url = format!("file://{}", directory.display());
        Self { kind: Kind::Local(Arc::new(dir), directory.to_owned()), url }
    }

    /// A prefix on `server` that nobody else uses.
    pub fn on(server: &S3Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_micros();
        let prefix = format!("t{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = format!("s3://{}/{prefix}", server.bucket);
        Self { kind: Kind::S3 { server: server.clone(), prefix }, url }
    }

    /// A prefix on `server` that others use too, for what the server ties to a prefix: rights.
    pub fn shared(server: &S3Server, prefix: &str) -> Self {
        let url = format!("s3://{}/{prefix}", server.bucket);
        Self { kind: Kind::S3 { server: server.clone(), prefix: prefix.to_owned() }, url }
    }

    /// The same objects as another user of the server.
    #[must_use]
    pub fn as_user(&self, (access_key, secret_key): (&'static str, &'static str)) -> Self {
        match &self.kind {
            Kind::Local(..) => panic!("a directory has no users"),
            Kind::S3 { server, prefix } => Self {
                kind: Kind::S3 {
                    server: S3Server { access_key, secret_key, ..server.clone() },
                    prefix: prefix.clone(),
                },
                url: self.url.clone(),
            },
        }
    }

    /// One of each kind, for what must hold everywhere.
    pub fn each() -> Vec<Self> {
        std::iter::once(Self::local()).chain(s3::servers().map(Self::on)).collect()
    }

    /// Another place, inside of this one.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        let kind = match &self.kind {
            Kind::Local(dir, path) => Kind::Local(Arc::clone(dir), path.join(prefix)),
            Kind::S3 { server, prefix: outer } => {
                Kind::S3 { server: server.clone(), prefix: format!("{outer}/{prefix}") }
            }
        };
        Self { kind, url: format!("{}/{prefix}", self.url) }
    }

    /// The same objects through another address of the server: a proxy.
    #[must_use]
    pub fn behind(&self, endpoint: &str) -> Self {
        match &self.kind {
            Kind::Local(..) => panic!("no proxy stands before a directory"),
            Kind::S3 { server, prefix } => Self {
                kind: Kind::S3 { server: server.behind(endpoint), prefix: prefix.clone() },
                url: self.url.clone(),
            },
        }
    }

    /// The directory, if it is one.
    pub fn dir(&self) -> &Path {
        match &self.kind {
            Kind::Local(_, path) => path,
            Kind::S3 { .. } => panic!("no directory"),
        }
    }

    /// What `--store` takes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The environment that a program needs to reach it.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        match &self.kind {
            Kind::Local(..) => Vec::new(),
            Kind::S3 { server, .. } => server.env(),
        }
    }

    /// Writes an object. The name stands as it is in a URL, so plain characters only.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        match &self.kind {
            Kind::Local(_, dir) => {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().expect("a file has a parent")).expect("the directory can be made");
                fs::write(path, bytes).expect("the object can be written");
            }
            Kind::S3 { server, prefix } => {
                let (status, _) = curl(server, "PUT", &format!("/{prefix}/{name}"), Some(bytes));
                assert_eq!(status, 200, "PUT {name}");
            }
        }
    }

    /// Reads an object; none if there is no such.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::Local(_, dir) => fs::read(dir.join(name)).ok(),
            Kind::S3 { server, prefix } => match curl(server, "GET", &format!("/{prefix}/{name}"), None) {
                (200, body) => Some(body),
                (404, _) => None,
                (status, body) => panic!("GET {name}: {status} {}", String::from_utf8_lossy(&body)),
            },
        }
    }

    /// Removes an object.
    pub fn delete(&self, name: &str) {
        match &self.kind {
            Kind::Local(_, dir) => fs::remove_file(dir.join(name)).expect("the object is there"),
            Kind::S3 { server, prefix } => {
                let (status, _) = curl(server, "DELETE", &format!("/{prefix}/{name}"), None);
                assert_eq!(status, 204, "DELETE {name}");
            }
        }
    }

    /// The status of an attempt to write an object on a server.
    pub fn try_put(&self, name: &str, bytes: &[u8]) -> u16 {
        let (server, prefix) = self.server();
        curl(server, "PUT", &format!("/{prefix}/{name}"), Some(bytes)).0
    }

    /// The status of an attempt to delete an object on a server.
    pub fn try_delete(&self, name: &str) -> u16 {
        let (server, prefix) = self.server();
        curl(server, "DELETE", &format!("/{prefix}/{name}"), None).0
    }

    fn server(&self) -> (&S3Server, &str) {
        match &self.kind {
            Kind::Local(..) => panic!("no server"),
            Kind::S3 { server, prefix } => (server, prefix),
        }
    }

    /// The names of all objects that are entries, in order: what lies under `.xcache/` is left out.
    pub fn entries(&self) -> Vec<String> {
        let mut names = self.objects();
        names.retain(|name| name.ends_with(".tar.zst") && !name.contains(".xcache/"));
        names
    }

    /// The names of all objects, in order.
    pub fn objects(&self) -> Vec<String> {
        let mut names = match &self.kind {
            Kind::Local(_, dir) => {
                let mut names = Vec::new();
                files_below(dir, "", &mut names);
                names
            }
            Kind::S3 { server, prefix } => {
                // One page is enough for any test that lists; curl wants the query in the order of the alphabet.
                let body = listing(server, &format!("?list-type=2&prefix={}%2F", prefix.replace('/', "%2F")));
                let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
                keys.filter_map(|key| key.strip_prefix(&format!("{prefix}/"))).map(str::to_owned).collect()
            }
        };
        names.sort();
        names
    }

    /// How many multipart uploads have been begun and neither completed nor aborted.
    pub fn uploads(&self) -> usize {
        match &self.kind {
            Kind::Local(..) => self.objects().iter().filter(|name| name.starts_with(".xcache/uploads/")).count(),
            Kind::S3 { server, prefix } => {
                listing(server, &format!("?prefix={prefix}%2F&uploads=")).matches("<UploadId>").count()
            }
        }
    }
}

fn listing(server: &S3Server, query: &str) -> String {
    let (status, body) = curl(server, "GET", query, None);
    let body = String::from_utf8(body).expect("an answer in UTF-8");
    assert_eq!(status, 200, "list: {body}");
    assert!(body.contains("<IsTruncated>false"), "too much for one page: {body}");
    body
}

fn files_below(dir: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("the directory can be listed") {
        let entry = entry.expect("the directory can be listed");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("a file has a type").is_dir() {
            files_below(&entry.path(), &format!("{name}/"), names);
        } else {
            names.push(name);
        }
    }
}

/// One signed request by a client that is not ours. `target` is what follows the bucket.
fn curl(server: &S3Server, method: &str, target: &str, body: Option<&[u8]>) -> (u16, Vec<u8>) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "-X", method, "-w", "\n%{http_code}"]);
    command.args(["--aws-sigv4", &format!("aws:amz:{}:s3", server.region)]);
    command.args(["--user", &format!("{}:{}", server.access_key, server.secret_key)]);
    command.args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
    if body.is_some() {
        command.args(["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]);
    }
    command.arg(format!("{}/{}{target}", server.endpoint, server.bucket));
    let mut child = command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    // curl reads all of its input before it answers, so writing first cannot block for ever.
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(body.unwrap_or_default()).expect("curl reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("curl ends");
    assert!(output.status.success(), "curl {method} {target} failed");
    let cut = output.stdout.iter().rposition(|&b| b == b'\n').expect("the status stands on the last line");
    let status = String::from_utf8_lossy(&output.stdout[cut + 1..]).parse().expect("a status is a number");
    (status, output.stdout[..cut].to_vec())
}
