//! What the JSON body of a refusal says, read from as much of it as was peeked.
//!
//! A JSON crate would reject the truncated prefix of a body as a whole. All that is needed are the
//! scalar members of the outermost object, and of its members `error` and `detail`, without
//! allocating: so this walks the text until it ends or stops being JSON, and keeps what it has seen.

/// The members by which APIs tell one refusal from another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Members<'a> {
    pub(super) code: &'a str,
    pub(super) status: &'a str,
    pub(super) kind: &'a str,
    pub(super) message: &'a str,
    pub(super) retry_after: &'a str,
    pub(super) global: bool,
}

impl Members<'_> {
    /// Whether one of the fields that hold an identifier holds this one.
    pub(super) fn says(&self, identifier: &str) -> bool {
        [self.code, self.status, self.kind].contains(&identifier)
    }
}

/// The body of a refusal, at the three places where APIs put its reason.
///
/// Strings are raw: escapes are not decoded, which no identifier or number needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Refusal<'a> {
    /// Members of the outermost object (Discord, GitHub).
    pub(super) root: Members<'a>,
    /// Members of `error` (OpenAI, Anthropic).
    pub(super) error: Members<'a>,
    /// Members of `detail` (ElevenLabs).
    pub(super) detail: Members<'a>,
}

impl<'a> Refusal<'a> {
    /// Reads what there is; text that is not JSON, or not an object, says nothing.
    pub(super) fn read(body: &'a [u8]) -> Self {
        let mut refusal = Self::default();
        let mut cursor = Cursor(body);
        if cursor.token() == Some(b'{') {
            cursor.advance();
            // `None` is where the text ended or stopped being JSON; what came before it counts.
            let _ = cursor.object(&mut refusal, Place::Root);
        }
        refusal
    }
}

/// The object whose members are being read.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Error,
    Detail,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte that is not white space, not consumed.
    fn token(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn advance(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then(|| self.advance())
    }

    /// The rest of an object whose `{` has been read. Goes one level down, for `error` and `detail`.
    fn object(&mut self, refusal: &mut Refusal<'a>, place: Place) -> Option<()> {
        if self.token()? == b'}' {
            self.advance();
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            let inner = match (place, name) {
                (Place::Root, "error") => Some(Place::Error),
                (Place::Root, "detail") => Some(Place::Detail),
                _ => None,
            };
            match (self.token()?, inner) {
                (b'{', Some(inner)) => {
                    self.advance();
                    self.object(refusal, inner)?;
                }
                (b'{' | b'[', _) => self.skip_nested()?,
                (b'"', _) => {
                    let text = self.string()?;
                    members(refusal, place).set(name, text);
                }
                _ => {
                    let text = self.literal()?;
                    members(refusal, place).set(name, text);
                }
            }
            match self.token()? {
                b',' => self.advance(),
                b'}' => {
                    self.advance();
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// A whole string; one that the end of the text cuts short is none, since half an identifier or
    /// half a number is another one.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let mut escaped = false;
        let end = self.0.iter().position(|&byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        self.advance();
        Some(std::str::from_utf8(text).unwrap_or_default())
    }

    /// A number, `true`, `false` or `null`; it is whole only if something follows.
    fn literal(&mut self) -> Option<&'a str> {
        let end = self
            .0
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// An array or object that nobody asks about. A counter, not recursion: the server chooses the
    /// depth.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.token()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return Some(());
            }
        }
    }
}

fn members<'r, 'a>(refusal: &'r mut Refusal<'a>, place: Place) -> &'r mut Members<'a> {
    match place {
        Place::Root => &mut refusal.root,
        Place::Error => &mut refusal.error,
        Place::Detail => &mut refusal.detail,
    }
}

impl<'a> Members<'a> {
    fn set(&mut self, name: &str, text: &'a str) {
        match name {
            "code" => self.code = text,
            "status" => self.status = text,
            "type" => self.kind = text,
            "message" => self.message = text,
            "retry_after" => self.retry_after = text,
            "global" => self.global = text == "true",
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Refusal<'_> {
        Refusal::read(body.as_bytes())
    }

    #[test]
    fn reads_the_outermost_object_and_the_two_inner_ones() {
        let refusal =
            read(r#"{"message":"m","error":{"code":"c"},"detail":{"status":"s","type":"t"}}"#);
        assert_eq!(refusal.root.message, "m");
        assert_eq!(refusal.error.code, "c");
        assert_eq!(refusal.detail.status, "s");
        assert_eq!(refusal.detail.kind, "t");
    }

    #[test]
    fn numbers_and_booleans_are_text() {
        let refusal = read("{ \"retry_after\" : 64.57 , \"global\" : true }");
        assert_eq!(refusal.root.retry_after, "64.57");
        assert!(refusal.root.global);
    }

    #[test]
    fn skips_what_is_nested_elsewhere() {
        let refusal = read(r#"{"meta":{"code":"no","x":[{"code":"]}"},"}"]},"code":"yes"}"#);
        assert_eq!(refusal.root.code, "yes");
    }

    #[test]
    fn an_inner_object_is_not_looked_for_twice() {
        let refusal = read(r#"{"error":{"detail":{"code":"no"},"error":{"code":"no"}}}"#);
        assert_eq!(refusal, Refusal::default());
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let refusal = read(r#"{"message":"say \"no\\\"","code":"yes"}"#);
        assert_eq!(refusal.root.code, "yes");
    }

    #[test]
    fn a_value_cut_short_is_none() {
        assert_eq!(read(r#"{"retry_after":1"#).root.retry_after, "");
        assert_eq!(read(r#"{"code":"system_bus"#).root.code, "");
    }

    #[test]
    fn what_precedes_the_cut_counts() {
        assert_eq!(read(r#"{"detail":{"status":"s","mess"#).detail.status, "s");
    }

    #[test]
    fn what_is_not_an_object_says_nothing() {
        for body in [
            "", "   ", "[]", "\"code\"", "<html>", "null", "{", "{}", "{]",
        ] {
            assert_eq!(read(body), Refusal::default(), "{body}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let mut body = String::from("{\"a\":");
        body.push_str(&"[".repeat(1_000_000));
        assert_eq!(read(&body), Refusal::default());
    }

    #[test]
    fn text_that_is_not_utf8_is_empty() {
        let refusal = Refusal::read(b"{\"message\":\"\xff\",\"code\":\"yes\"}");
        assert_eq!(refusal.root.message, "");
        assert_eq!(refusal.root.code, "yes");
    }
}
