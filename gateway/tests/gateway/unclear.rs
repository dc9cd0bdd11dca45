//! Requests that are refused, or answered by closing, and never get to the upstream. Each has a name.

use std::fmt::Write as _;

type Named = (&'static str, String);

pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let all = [framings(), lines(), targets(), bad_chunks(), large()].concat();
    let all = all.into_iter();
    all.map(|(what, text)| (what.to_owned(), text.into_bytes()))
        .collect()
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /bad HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /bad HTTP/1.1\r\n{lines}\r\n\r\n")
}

fn chunks(body: &str) -> String {
    post("transfer-encoding: chunked", body)
}

fn framings() -> Vec<Named> {
    vec![
        (
            "two lengths",
            post("content-length: 4\r\ncontent-length: 5", "12345"),
        ),
        ("a list of lengths", post("content-length: 4, 4", "1234")),
        (
            "a list of two lengths",
            post("content-length: 4,5", "12345"),
        ),
        ("two lengths in one", post("content-length: 4 5", "12345")),
        ("a length with a sign", post("content-length: +4", "1234")),
        ("a negative length", post("content-length: -1", "")),
        ("a length with a point", post("content-length: 4.0", "1234")),
        (
            "a length in hexadecimal",
            post("content-length: 0x4", "1234"),
        ),
        ("a length with a letter", post("content-length: 4a", "1234")),
        ("no length in a length", post("content-length: ", "")),
        (
            "a length of 64 bits and one",
            post("content-length: 18446744073709551616", ""),
        ),
        (
            "a length and a control character",
            post("content-length: 4\x11", "1234"),
        ),
        (
            "a space before the colon",
            post("content-length : 4", "1234"),
        ),
        (
            "an encoding that is unknown",
            post("transfer-encoding: xchunked", "0\r\n\r\n"),
        ),
        (
            "an encoding twice",
            post("transfer-encoding: chunked, chunked", "0\r\n\r\n"),
        ),
        (
            "an encoding below another",
            post("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
        ),
        (
            "an encoding that is not the last",
            post("transfer-encoding: chunked, gzip", "0\r\n\r\n"),
        ),
        (
            "an encoding in HTTP/1.0",
            "POST /bad HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
    ]
}

fn lines() -> Vec<Named> {
    vec![
        ("a folded line", get("host: x\r\nx-one: 1\r\n 2")),
        ("a folded line, by a tab", get("host: x\r\nx-one: 1\r\n\t2")),
        ("a folded first line", get(" host: x")),
        (
            "a folded line, by a line feed",
            get("host: x\r\nx-one: 1\n 2"),
        ),
        ("a line feed in a value", get("host: x\r\nx-one: 1\n2")),
        ("a line feed in a name", get("host: x\r\nx-o\nne: 1")),
        (
            "a space before a length",
            post("content-length: 4\r\n content-length: 5", "12345"),
        ),
        (
            "a space after one encoding",
            post(
                "transfer-encoding : chunked\r\ntransfer-encoding: chunked",
                "0\r\n\r\n",
            ),
        ),
        (
            "an encoding and a control character",
            post("transfer-encoding: chunked\x11", "0\r\n\r\n"),
        ),
        ("a NUL before a name", get("host: x\r\n\x00x-one: 1")),
        ("a NUL before a value", get("host: x\r\nx-one: \x001")),
        ("a NUL after a value", get("host: x\r\nx-one: 1\x00")),
        ("a bare CR in a value", get("host: x\r\nx-one: 1\rx-two: 2")),
        ("a bare CR in a name", get("host: x\r\nx-\rone: 1")),
        ("a NUL in a value", get("host: x\r\nx-one: 1\x002")),
        ("a NUL in a name", get("host: x\r\nx-o\x00ne: 1")),
        (
            "a control character in a value",
            get("host: x\r\nx-one: 1\x08"),
        ),
        ("a DEL in a value", get("host: x\r\nx-one: 1\x7f")),
        ("a space in a name", get("host: x\r\nx one: 1")),
        ("a name without a value", get("host: x\r\nx-one")),
        ("a value without a name", get("host: x\r\n: 1")),
    ]
}

fn targets() -> Vec<Named> {
    vec![
        ("no host", get("x-one: 1")),
        ("two hosts", get("host: x\r\nhost: x")),
        ("two different hosts", get("host: x\r\nhost: y")),
        ("a list of hosts", get("host: x, y")),
        ("a host with a user", get("host: me@x")),
        ("a host with a path", get("host: x/y")),
        ("a host with a space", get("host: x y")),
        ("a host with a bad port", get("host: x:y")),
        (
            "another host in the target",
            "GET http://y/bad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "a user in the target",
            "GET http://me@x/bad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "a proxy's request",
            "CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n".into(),
        ),
        (
            "a control character in the method",
            "GE\x01T /bad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "a control character in the target",
            "GET /b\x01ad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "a NUL in the target",
            "GET /b\x00ad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        ("no target", "GET HTTP/1.1\r\nhost: x\r\n\r\n".into()),
        (
            "a target without a slash",
            "GET bad/bad HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        ("no version", "GET /bad\r\nhost: x\r\n\r\n".into()),
        (
            "another version",
            "GET /bad HTTP/9.9\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "another protocol",
            "GET /bad HTTPS/1.1\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "something after the version",
            "GET /bad HTTP/1.1 x\r\nhost: x\r\n\r\n".into(),
        ),
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\r\n\r\n".into(),
        ),
    ]
}

fn bad_chunks() -> Vec<Named> {
    vec![
        ("a chunk with a sign", chunks("+1\r\na\r\n0\r\n\r\n")),
        ("a chunk with 0x", chunks("0x1\r\na\r\n0\r\n\r\n")),
        (
            "a chunk with an underscore",
            chunks("1_0\r\na\r\n0\r\n\r\n"),
        ),
        (
            "a chunk of 64 bits and more",
            chunks("10000000000000001\r\na\r\n0\r\n\r\n"),
        ),
        (
            "a chunk longer than it says",
            chunks("1\r\nab\r\n0\r\n\r\n"),
        ),
        ("a chunk without a size", chunks(";x=y\r\na\r\n0\r\n\r\n")),
        (
            "a line feed in a chunk's extension",
            chunks("1;x\ny\r\na\r\n0\r\n\r\n"),
        ),
        (
            "a chunk's size that ends with a bare CR",
            chunks("1\ra\r\n0\r\n\r\n"),
        ),
        (
            "a chunk with a bare LF after its data",
            chunks("1\r\na\n0\r\n\r\n"),
        ),
    ]
}

fn large() -> Vec<Named> {
    let mut many = "host: x".to_owned();
    for n in 0..200 {
        write!(many, "\r\nx-{n}: 1").unwrap();
    }
    let long = "x".repeat(100_000);
    vec![
        ("200 headers", get(&many)),
        ("a long value", get(&format!("host: x\r\nx-one: {long}"))),
        ("a long name", get(&format!("host: x\r\n{long}: 1"))),
        (
            "a long target",
            format!("GET /bad{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        ),
        (
            "a long method",
            format!("{long} /bad HTTP/1.1\r\nhost: x\r\n\r\n"),
        ),
        (
            "a long extension",
            chunks(&format!("1;{long}\r\na\r\n0\r\n\r\n")),
        ),
    ]
}
