//! A proxy before an S3 server that records each request, and delays, cuts, damages or refuses those it is told to.
//!
//! See `tests/support/s3-fault --help` for the rules. The proxy ends with the value that stands for it, and when the
//! test ends in any other way.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use crate::s3::{S3Server, support};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Lines<BufReader<ChildStderr>>,
    endpoint: String,
}

/// One request that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The answer's status; none if none came.
    pub status: Option<u16>,
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the answer's body.
    pub received: u64,
    /// What a rule did to it.
    pub fault: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
}

impl Proxy {
    /// A proxy that only records.
    pub fn recording(server: &S3Server) -> Self {
        Self::with_rules(server, &[])
    }

    /// A proxy with faults, each like `GET .* reset:1048576 count=1`.
    pub fn with_rules(server: &S3Server, rules: &[&str]) -> Self {
        Self::with_arguments(server, &rules.iter().flat_map(|rule| ["--rule", rule]).collect::<Vec<_>>())
    }

    /// A proxy with any options of `s3-fault`.
    pub fn with_arguments(server: &S3Server, arguments: &[&str]) -> Self {
        let mut child = Command::new(support("s3-fault"))
            .args(["--upstream", &server.endpoint, "--until-eof", "--verbose"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 runs tests/support/s3-fault");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the proxy prints its address");
        let endpoint = line.trim().strip_prefix("export AWS_ENDPOINT_URL=").expect("the proxy runs").to_owned();
        let log = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
        Self { stdin: child.stdin.take(), child, log, endpoint }
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The requests since the last call, in the order in which they ended. Waits until none is under way.
    pub fn requests(&mut self) -> Vec<Request> {
        let stdin = self.stdin.as_mut().expect("open until the end");
        stdin.write_all(b"\n").expect("the proxy runs");
        let lines = self.log.by_ref().map(|line| line.expect("the proxy's log is text"));
        let lines = lines.take_while(|line| line != "drained").filter(|line| line != "held");
        lines.map(|line| Request::parse(&line)).collect()
    }

    /// Waits until a rule `hold` holds a request back. Forgets the requests before.
    pub fn wait_until_held(&mut self) {
        let mut lines = self.log.by_ref().map(|line| line.expect("the proxy's log is text"));
        assert!(lines.any(|line| line == "held"), "the proxy ended before it held anything back");
    }

    /// Lets go what is held back.
    pub fn release(&mut self) {
        self.stdin.as_mut().expect("open until the end").write_all(b"release\n").expect("the proxy runs");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The end of its input ends it; what it still has to say does not matter.
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Request {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let [method, target, status, sent, received, fault, range] = fields[..] else {
            panic!("not a line of the log: {line:?}");
        };
        let given = |text: &str| (text != "-").then(|| text.to_owned());
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            status: status.parse().ok(),
            sent: sent.parse().expect("a number of bytes"),
            received: received.parse().expect("a number of bytes"),
            fault: given(fault),
            range: given(range),
        }
    }

    /// Which operation of S3 it is, for counting.
    pub fn operation(&self) -> &'static str {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let has = |name: &str| query.split('&').any(|pair| pair == name || pair.starts_with(&format!("{name}=")));
        match self.method.as_str() {
            "GET" if has("list-type") => "ListObjects",
            "GET" if has("uploads") => "ListUploads",
            "GET" if has("tagging") => "GetTagging",
            "GET" => "GetObject",
            "HEAD" => "HeadObject",
            "PUT" if has("partNumber") => "UploadPart",
            "PUT" if has("tagging") => "PutTagging",
            "PUT" => "PutObject",
            "POST" if has("uploads") => "CreateUpload",
            "POST" if has("uploadId") => "CompleteUpload",
            "POST" if has("delete") => "DeleteObjects",
            "DELETE" if has("uploadId") => "AbortUpload",
            "DELETE" => "DeleteObject",
            _ => "other",
        }
    }
}

/// How often each operation occurs, as text in the order of the alphabet: `GetObject 2, HeadObject 1`.
pub fn count(requests: &[Request]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for request in requests {
        *counts.entry(request.operation()).or_insert(0) += 1;
    }
    counts.iter().map(|(operation, count)| format!("{operation} {count}")).collect::<Vec<_>>().join(", ")
}

/// Checks that there are only requests of one kind: at least one, and not more than `most`. On a hit the answer for the
/// base is used as soon as it is there, and the question for the delta may be dropped before it is asked.
#[track_caller]
pub fn check_at_most(requests: &[Request], operation: &str, most: usize) {
    let are_of_one_kind = requests.iter().all(|request| request.operation() == operation);
    assert!(are_of_one_kind && (1..=most).contains(&requests.len()), "{requests:#?}");
}
