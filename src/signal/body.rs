//! What the body of a refusal says, at the places where APIs put it.

use super::json::{self, Scalar, Scalars};

/// The beginning of a body. What is not JSON has no members.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    /// Of the outermost object (Discord, GitHub).
    pub(super) root: Members<'a>,
    /// Of `error` (OpenAI, Anthropic), or of the first of `errors`.
    pub(super) error: Members<'a>,
    /// Of `detail` (ElevenLabs).
    pub(super) detail: Members<'a>,
}

/// The members by which APIs tell one refusal from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members<'a> {
    pub(super) code: &'a str,
    pub(super) status: &'a str,
    pub(super) kind: &'a str,
    pub(super) message: &'a str,
    pub(super) global: bool,
}

impl<'a> Text<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut text = Self {
            bytes: first_event(bytes),
            ..Self::default()
        };
        for scalar in text.scalars() {
            let members = match (scalar.depth, scalar.parent) {
                (0, _) => &mut text.root,
                (1, "error" | "errors") => &mut text.error,
                (1, "detail") => &mut text.detail,
                _ => continue,
            };
            members.set(scalar);
        }
        text
    }

    pub(super) fn scalars(&self) -> Scalars<'a> {
        json::scalars(self.bytes)
    }

    /// What it says to people, and its identifiers: the values of JSON, or all of what is not JSON.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> {
        let is_json = matches!(self.bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        let whole = (!is_json).then(|| valid(self.bytes));
        let said = self.scalars().filter(|scalar| !scalar.is_echo());
        said.map(|scalar| scalar.text).chain(whole)
    }
}

impl<'a> Members<'a> {
    /// Whether one of the fields that hold an identifier holds this one.
    pub(super) fn says(&self, identifier: &str) -> bool {
        [self.code, self.status, self.kind].contains(&identifier)
    }

    /// Of members of one name the first counts.
    fn set(&mut self, scalar: Scalar<'a>) {
        let field = match scalar.name {
            "code" => &mut self.code,
            "status" => &mut self.status,
            "type" => &mut self.kind,
            "message" => &mut self.message,
            "global" => {
                self.global |= scalar.text == "true";
                return;
            }
            _ => return,
        };
        if field.is_empty() {
            *field = scalar.text;
        }
    }
}

/// The data of the first event, if it is an event stream: some refuse a stream with an event.
fn first_event(bytes: &[u8]) -> &[u8] {
    const BEFORE: [&[u8]; 4] = [b"event:", b"id:", b"retry:", b":"];
    let mut rest = bytes;
    loop {
        if let Some(data) = rest.strip_prefix(b"data:") {
            return data;
        }
        let end = rest.iter().position(|&byte| byte == b'\n');
        match end {
            Some(end) if BEFORE.iter().any(|field| rest.starts_with(field)) => {
                rest = &rest[end + 1..];
            }
            _ => return bytes,
        }
    }
}

/// A text as far as it is UTF-8: the rest may have been cut short.
fn valid(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Text<'_> {
        Text::read(body.as_bytes())
    }

    #[test]
    fn reads_the_outermost_object_and_the_two_inner_ones() {
        let text =
            read(r#"{"message":"m","error":{"code":"c"},"detail":{"status":"s","type":"t"}}"#);
        assert_eq!(text.root.message, "m");
        assert_eq!(text.error.code, "c");
        assert_eq!(text.detail.status, "s");
        assert_eq!(text.detail.kind, "t");
    }

    #[test]
    fn the_first_of_several_errors_counts() {
        let text = read(r#"{"errors":[{"code":"first","message":"m"},{"code":"second"}]}"#);
        assert_eq!(text.error.code, "first");
        assert_eq!(text.error.message, "m");
    }

    #[test]
    fn an_array_may_stand_around_the_object() {
        assert_eq!(read(r#"[{"error":{"status":"S"}}]"#).error.status, "S");
    }

    #[test]
    fn the_first_event_of_a_stream_is_read() {
        for before in ["", "event: error\n", ": ping\nevent: error\r\nid: 7\n"] {
            let text = format!("{before}data: {{\"error\":{{\"code\":\"c\"}}}}\n\ndata: {{}}\n\n");
            assert_eq!(read(&text).error.code, "c", "{text}");
        }
        assert_eq!(read("event: error\n{\"message\":\"m\"}").root.message, "");
        let said = read("data: too much\n");
        assert_eq!(said.texts().collect::<Vec<_>>(), [" too much\n"]);
    }

    #[test]
    fn an_inner_object_is_not_looked_for_twice() {
        let text = read(r#"{"error":{"detail":{"code":"no"},"error":{"code":"no"}}}"#);
        assert_eq!(text.error, Members::default());
        assert_eq!(text.detail, Members::default());
    }
}
