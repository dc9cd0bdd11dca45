//! The scalars of a JSON text, read from as much of it as was peeked.
//!
//! A JSON crate would reject the truncated prefix of a body as a whole, and build a tree of what nobody
//! asks for. This walks the text until it ends or stops being JSON, and allocates nothing.

/// How deep objects and arrays may stand in each other. What stands deeper is passed over.
const MAX_DEPTH: usize = 8;

/// A string, a number, `true`, `false` or `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar<'a> {
    /// That of the member; of an array's element, that of the array.
    pub(super) name: &'a str,
    /// Raw: escapes are not decoded, which no identifier and no number needs.
    pub(super) text: &'a str,
    /// The name of the object that it is a member of; empty at the root.
    pub(super) parent: &'a str,
    /// How many objects stand around the one that it is a member of.
    pub(super) depth: usize,
}

/// Names of members that hold what was asked for, or where: they say nothing about a refusal.
const ECHOES: [&str; 15] = [
    "prompt",
    "input",
    "messages",
    "request",
    "query",
    "content",
    "path",
    "instance",
    "url",
    "uri",
    "href",
    "user",
    "method",
    "documentation_url",
    "link",
];

impl Scalar<'_> {
    /// Whether it repeats what the client has sent, or names a place.
    pub(super) fn is_echo(&self) -> bool {
        ECHOES.contains(&self.name) || ECHOES.contains(&self.parent)
    }
}

/// The scalars of a text, in their order. An object or an array at the root; anything else has none.
pub(super) fn scalars(text: &[u8]) -> Scalars<'_> {
    // A byte order mark, as .NET writes it.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut scalars = Scalars {
        cursor: Cursor(text),
        levels: [Level::default(); MAX_DEPTH],
        depth: 0,
        name: "",
        next: Next::Value,
    };
    if !matches!(scalars.cursor.token(), Some(b'{' | b'[')) {
        scalars.cursor = Cursor(&[]);
    }
    scalars
}

/// See [`scalars`].
#[derive(Clone)]
pub(super) struct Scalars<'a> {
    cursor: Cursor<'a>,
    levels: [Level<'a>; MAX_DEPTH],
    depth: usize,
    /// The name of the value that comes next.
    name: &'a str,
    next: Next,
}

/// An object or an array that has begun and has not ended.
#[derive(Clone, Copy, Default)]
struct Level<'a> {
    name: &'a str,
    is_array: bool,
}

/// What the grammar allows next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// The first of an object's members or an array's elements, or its end.
    FirstOrEnd,
    CommaOrEnd,
}

impl<'a> Iterator for Scalars<'a> {
    type Item = Scalar<'a>;

    /// `None` where the text ends or stops being JSON; what came before that counts.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let token = self.cursor.token()?;
            match (self.next, token) {
                (Next::FirstOrEnd | Next::CommaOrEnd, b'}' | b']') => {
                    self.cursor.advance();
                    self.depth -= 1;
                    self.leave()?;
                }
                (Next::FirstOrEnd, _) => self.name_next()?,
                (Next::CommaOrEnd, b',') => {
                    self.cursor.advance();
                    self.name_next()?;
                }
                (Next::CommaOrEnd, _) => return None,
                (Next::Value, b'{' | b'[') => self.enter(token)?,
                (Next::Value, _) => {
                    let text = if token == b'"' {
                        self.cursor.string()?
                    } else {
                        self.cursor.literal()?
                    };
                    let scalar = self.scalar(text);
                    self.next = Next::CommaOrEnd;
                    return Some(scalar);
                }
            }
        }
    }
}

impl<'a> Scalars<'a> {
    fn levels(&self) -> &[Level<'a>] {
        &self.levels[..self.depth]
    }

    fn scalar(&self, text: &'a str) -> Scalar<'a> {
        let mut objects = self.levels().iter().rev().filter(|level| !level.is_array);
        Scalar {
            name: self.name,
            text,
            parent: objects.next().map_or("", |object| object.name),
            depth: objects.count(),
        }
    }

    /// The beginning of an object or an array.
    fn enter(&mut self, token: u8) -> Option<()> {
        let is_array = token == b'[';
        let name = self.name;
        let Some(level) = self.levels.get_mut(self.depth) else {
            self.cursor.skip_nested()?;
            self.next = Next::CommaOrEnd;
            return Some(());
        };
        *level = Level { name, is_array };
        self.cursor.advance();
        self.depth += 1;
        self.next = Next::FirstOrEnd;
        Some(())
    }

    /// An object or an array has ended; if it was the outermost, so has the text.
    fn leave(&mut self) -> Option<()> {
        self.next = Next::CommaOrEnd;
        (self.depth > 0).then_some(())
    }

    /// A member or an element follows.
    fn name_next(&mut self) -> Option<()> {
        let level = self.levels().last()?;
        self.name = if level.is_array {
            level.name
        } else {
            let name = self.cursor.string()?;
            self.cursor.expect(b':')?;
            name
        };
        self.next = Next::Value;
        Some(())
    }
}

#[derive(Clone, Copy)]
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

    /// An array or object that stands too deep. A counter, not recursion: the server chooses the depth.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&str, &str, &str, usize)> {
        scalars(text.as_bytes())
            .map(|of| (of.parent, of.name, of.text, of.depth))
            .collect()
    }

    #[test]
    fn members_have_the_name_of_their_object() {
        assert_eq!(
            read(r#"{"message":"m","error":{"code":"c"},"detail":{"status":"s"},"last":1}"#),
            [
                ("", "message", "m", 0),
                ("error", "code", "c", 1),
                ("detail", "status", "s", 1),
                ("", "last", "1", 0),
            ]
        );
    }

    #[test]
    fn elements_have_the_name_of_their_array() {
        assert_eq!(
            read(r#"{"errors":[{"code":88},"x",[2]],"a":[],"b":{}}"#),
            [
                ("errors", "code", "88", 1),
                ("", "errors", "x", 0),
                ("", "errors", "2", 0),
            ]
        );
    }

    #[test]
    fn an_array_may_stand_at_the_root() {
        assert_eq!(
            read(r#"[{"error":{"status":"S"}},{"code":1}]"#),
            [("error", "status", "S", 1), ("", "code", "1", 0)]
        );
    }

    #[test]
    fn numbers_and_booleans_are_text() {
        assert_eq!(
            read("{ \"retry_after\" : 64.57 , \"global\" : true }"),
            [("", "retry_after", "64.57", 0), ("", "global", "true", 0)]
        );
    }

    #[test]
    fn brackets_in_strings_are_text() {
        let all = read(r#"{"meta":{"x":[{"code":"]}"},"}"]},"code":"yes"}"#);
        assert_eq!(all.last(), Some(&("", "code", "yes", 0)));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let all = read(r#"{"message":"say \"no\\\"","code":"yes"}"#);
        assert_eq!(all.last(), Some(&("", "code", "yes", 0)));
    }

    #[test]
    fn a_value_cut_short_is_none() {
        assert_eq!(read(r#"{"retry_after":1"#), []);
        assert_eq!(read(r#"{"code":"system_bus"#), []);
    }

    #[test]
    fn what_precedes_the_cut_counts() {
        let all = read(r#"{"detail":{"status":"s","mess"#);
        assert_eq!(all, [("detail", "status", "s", 1)]);
    }

    #[test]
    fn what_is_neither_an_object_nor_an_array_has_none() {
        for text in [
            "", "   ", "[]", "\"code\"", "<html>", "null", "{", "{}", "{]", "[}", "7",
        ] {
            assert_eq!(read(text), [], "{text}");
        }
    }

    #[test]
    fn what_follows_the_outermost_object_is_not_read() {
        assert_eq!(read(r#"{"a":1},{"b":2}"#), [("", "a", "1", 0)]);
    }

    #[test]
    fn what_stands_too_deep_is_passed_over() {
        let deep = format!("{{\"a\":{}1{},\"b\":2}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(read(&deep), [("", "b", "2", 0)]);
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let mut body = String::from("{\"a\":");
        body.push_str(&"[".repeat(1_000_000));
        assert_eq!(read(&body), []);
    }

    #[test]
    fn text_that_is_not_utf8_is_empty() {
        let all: Vec<_> = scalars(b"{\"message\":\"\xff\",\"code\":\"yes\"}").collect();
        assert_eq!((all[0].text, all[1].text), ("", "yes"));
    }
}
