//! An upstream that records each byte that it is sent, and reads it as strictly as the standards allow.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_throttle::mock;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request, byte for byte.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(each, _)| each == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// What it has been sent so far. What could not be read without doubt is an error, with its bytes.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Result<Raw, String>>>>);

impl Record {
    pub(crate) fn all(&self) -> Vec<Result<Raw, String>> {
        self.0.lock().unwrap().clone()
    }
}

/// Starts one.
pub(crate) fn serve() -> (String, Record) {
    let listener = mock::bind().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let record = Record::default();
    let kept = record.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream, kept.clone()));
        }
    });
    (url, record)
}

async fn connection(mut stream: TcpStream, record: Record) {
    let mut bytes = Vec::new();
    loop {
        match read(&bytes) {
            Ok(Some((request, len))) => {
                bytes.drain(..len);
                record.0.lock().unwrap().push(Ok(request));
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                let more = stream.read_buf(&mut bytes).await;
                if !matches!(more, Ok(n) if n > 0) {
                    return;
                }
            }
            Err(error) => {
                let what = format!("{error}: {}", bytes.escape_ascii());
                return record.0.lock().unwrap().push(Err(what));
            }
        }
    }
}

/// The first request and its length. `None` if it is not all there.
fn read(bytes: &[u8]) -> Result<Option<(Raw, usize)>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "no text")?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<_> = line.split(' ').collect();
    if parts.len() != 3
        || parts[2] != "HTTP/1.1"
        || !line
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err("a bad request line");
    }
    let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
    let mut raw = Raw {
        line: line.to_owned(),
        headers,
        body: Vec::new(),
    };
    if raw.values("host").len() != 1 {
        return Err("not one host");
    }
    let rest = &bytes[end + 4..];
    let (lengths, codings) = (
        raw.values("content-length"),
        raw.values("transfer-encoding"),
    );
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) => {
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            let length: usize = length
                .parse()
                .ok()
                .filter(|_| digits)
                .ok_or("a bad length")?;
            rest.get(..length).map(|body| (body.to_vec(), length))
        }
        ([], ["chunked"]) => chunked(rest)?,
        _ => return Err("no clear framing"),
    };
    Ok(body.map(|(body, length)| {
        raw.body = body;
        (raw, end + 4 + length)
    }))
}

fn header(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(": ").ok_or("a header without a colon")?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("a bad name of a header");
    }
    if value.trim() != value || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("a bad value of a header");
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

/// The body, and how many bytes it took.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "a bad chunk")?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a bad chunk");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a large chunk")?;
        at += end + 2;
        let Some(data) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if &data[size..] != b"\r\n" {
            return Err("a chunk without its end");
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}
