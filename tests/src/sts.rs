//! A double for the two services that a role is taken from: the runner's token service and STS, on loopback.
//!
//! It answers as it is told to and records what it was asked, so that a test can break each answer. What STS really says
//! was taken from its API reference.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

/// The token that the service gives: three words, as every JWT has.
pub const TOKEN: &str = "ZXlK.c2VjcmV0LXRva2Vu.c2ln";
/// What the token service wants to see.
pub const BEARER: &str = "secret-bearer";
/// What STS gives.
pub const SECRET_KEY: &str = "secret-of-the-role";
/// What STS gives with it.
pub const SESSION_TOKEN: &str = "secret-session-token";

/// What a service answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What was asked for.
    Good,
    /// Nothing: it takes the request and stays silent.
    Silence,
    /// This status and text.
    Status(u16, String),
    /// This status and text at first, then what was asked for.
    GoodAfter(u32, u16),
}

/// How the services behave.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The token service.
    pub token: Answer,
    /// STS.
    pub sts: Answer,
    /// How long credentials are valid.
    pub lifetime: Duration,
    /// What the clock of STS is ahead of ours, in seconds.
    pub ahead: i64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { token: Answer::Good, sts: Answer::Good, lifetime: Duration::from_secs(3600), ahead: 0 }
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET /token?audience=…`
    pub line: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The fields of a form, decoded.
    pub form: BTreeMap<String, String>,
}

/// Running services. They end with the process.
#[derive(Debug)]
pub struct Services {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Services {
    /// Starts both.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("it has an address"));
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, shared) = (behaviour.clone(), shared.clone());
                std::thread::spawn(move || serve(stream, &behaviour, &shared));
            }
        });
        Self { address, requests }
    }

    /// Where STS is.
    pub fn sts(&self) -> &str {
        &self.address
    }

    /// Where the runner gives tokens.
    pub fn token_url(&self) -> String {
        format!("{}/token?api-version=2.0", self.address)
    }

    /// What the token service was asked.
    pub fn token_requests(&self) -> Vec<Request> {
        self.requests_to("GET")
    }

    /// What STS was asked.
    pub fn exchanges(&self) -> Vec<Request> {
        self.requests_to("POST")
    }

    fn requests_to(&self, method: &str) -> Vec<Request> {
        lock(&self.requests).iter().filter(|request| request.line.starts_with(method)).cloned().collect()
    }
}

fn lock(requests: &Mutex<Vec<Request>>) -> MutexGuard<'_, Vec<Request>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, one request.
fn serve(stream: TcpStream, behaviour: &Behaviour, requests: &Mutex<Vec<Request>>) {
    let Some(request) = read(&stream) else { return };
    let is_token = request.line.starts_with("GET");
    let earlier = {
        let mut requests = lock(requests);
        let earlier = requests.iter().filter(|other| other.line.starts_with("GET") == is_token).count();
        requests.push(request.clone());
        earlier
    };
    let answer = if is_token { &behaviour.token } else { &behaviour.sts };
    let good = || if is_token { token(&request) } else { credentials(behaviour) };
    let (status, body) = match answer {
        Answer::Good => good(),
        Answer::Status(status, body) => (*status, body.clone()),
        Answer::GoodAfter(count, status) if earlier < *count as usize => (*status, String::new()),
        Answer::GoodAfter(..) => good(),
        Answer::Silence => {
            // Until the client gives up.
            let _ = (&stream).read(&mut [0; 1]);
            return;
        }
    };
    let date = (Utc::now() + chrono::Duration::seconds(behaviour.ahead)).format("%a, %d %b %Y %H:%M:%S GMT");
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = (&stream).write_all(head.as_bytes());
}

fn token(request: &Request) -> (u16, String) {
    if request.headers.get("authorization").is_some_and(|value| value == &format!("Bearer {BEARER}")) {
        (200, format!(r#"{{"count": 1, "value": "{TOKEN}"}}"#))
    } else {
        (401, "{}".to_owned())
    }
}

fn credentials(behaviour: &Behaviour) -> (u16, String) {
    let end: DateTime<Utc> = (SystemTime::now() + behaviour.lifetime).into();
    let end = (end + chrono::Duration::seconds(behaviour.ahead)).format("%Y-%m-%dT%H:%M:%SZ");
    let body = format!(
        r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>
<SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>{SESSION_TOKEN}</SessionToken>
<Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"#
    );
    (200, body)
}

/// The answer of STS that refuses, with one of its codes.
pub fn refusal(code: &str, message: &str) -> String {
    format!(
        r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>
<Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"#
    )
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let form = String::from_utf8_lossy(&body)
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect();
    Some(Request { line: line.trim_end().to_owned(), headers, form })
}

/// Percent-decodes a value of a form.
fn decode(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at(piece.len().min(2));
        decoded.push(u8::from_str_radix(digits, 16).map_or('?', char::from));
        decoded.push_str(rest);
    }
    decoded
}
