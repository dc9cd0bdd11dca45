//! Numbers in a JSON text that comes in pieces.
//!
//! The text may be megabytes long and cut anywhere, and two or three numbers in it matter. So this keeps the depth,
//! and the name of the member that has begun; of everything else it keeps nothing. It looks into the outermost
//! object, and into those of its members that a [`Visit`] asks for. All the rest is skipped: strings by searching
//! their end, objects and arrays by counting brackets.
//!
//! [`signal`](crate::signal) has another reader, for text that is all there: that one lends out the strings, which is
//! impossible across pieces.

use super::find::first_of;

/// The longest name that is told apart. The longest that anybody looks for has 27 bytes.
const MAX_NAME: usize = 32;

/// Up to here every reader of JSON agrees on what an integer means (RFC 8259, section 6). It is also so far below
/// `u64::MAX` that a few of them can be added.
const MAX_NUMBER: u64 = 1 << 53;

/// What is told about the objects that are looked into.
pub(super) trait Visit {
    /// An object begins: the member `name` of the one that is looked into. Whether to look into it, too.
    fn enter(&mut self, name: &[u8]) -> bool;
    /// A member is a whole number.
    fn number(&mut self, name: &[u8], n: u64);
    /// The object entered last ends.
    fn leave(&mut self);
}

/// What is looked into at the outermost level.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    /// An object. Several of them may follow each other.
    Object,
    /// Each object that is an element of an array.
    Array,
}

/// See the [module](self).
///
/// It takes any bytes. What it makes of text that is no JSON is of no use, and does no harm.
#[derive(Debug)]
pub(super) struct Scanner {
    root: Root,
    state: State,
    /// How many objects and arrays have begun and not ended.
    depth: u64,
    /// How many of them, from the outermost on, are looked into.
    looked_into: u64,
    name: Name,
    /// For tests: times that the loop has run.
    #[cfg(test)]
    pub(super) steps: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between strings, numbers and words.
    Structure,
    /// In the name of a member that may matter.
    Name { is_escaped: bool },
    /// In a string that does not matter.
    Text { is_escaped: bool },
    /// In a number that matters; `None` if it is not a usual one.
    Number(Option<u64>),
    /// In a number that does not matter, or in `true`, `false` or `null`.
    Word,
}

impl Scanner {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            state: State::Structure,
            depth: 0,
            looked_into: 0,
            name: Name::default(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Forgets the text so far. The next one begins.
    pub(super) fn restart(&mut self) {
        self.state = State::Structure;
        self.depth = 0;
        self.looked_into = 0;
        self.name.clear();
    }

    /// Whether everything that has begun has ended.
    pub(super) fn is_between_texts(&self) -> bool {
        self.depth == 0 && self.state == State::Structure
    }

    /// The next piece of the text.
    pub(super) fn scan(&mut self, mut data: &[u8], visit: &mut impl Visit) {
        while let Some(&byte) = data.first() {
            // A step that uses nothing ends a number or a word, which has used something.
            let used = match self.state {
                State::Structure if self.depth > self.looked_into => self.skip(data, visit),
                State::Structure => {
                    self.structure(byte, visit);
                    1
                }
                State::Name { is_escaped } => self.name(data, is_escaped),
                State::Text { is_escaped } => self.text(data, is_escaped),
                State::Number(n) => self.number(byte, n, visit),
                State::Word => self.word(data),
            };
            data = &data[used..];
            #[cfg(test)]
            {
                self.steps += 1;
            }
        }
    }

    fn structure(&mut self, byte: u8, visit: &mut impl Visit) {
        match byte {
            b'{' | b'[' => self.open(byte, visit),
            b'}' | b']' => self.close(visit),
            b',' => self.name.clear(),
            b':' => self.name.belongs_to_what_follows(),
            b'"' if self.name.is_none() => self.state = State::Name { is_escaped: false },
            b'"' => self.state = State::Text { is_escaped: false },
            b'0'..=b'9' if self.name.of_value().is_some() => {
                self.state = State::Number(Some(u64::from(byte - b'0')));
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => self.state = State::Word,
        }
    }

    /// Within something that is not looked into.
    fn skip(&mut self, data: &[u8], visit: &mut impl Visit) -> usize {
        let Some(at) = first_of([b'"', b'{', b'}', b'[', b']'], data) else {
            return data.len();
        };
        match data[at] {
            b'"' => self.state = State::Text { is_escaped: false },
            b'{' | b'[' => self.depth += 1,
            _ => self.close(visit),
        }
        at + 1
    }

    fn open(&mut self, byte: u8, visit: &mut impl Visit) {
        let is_object = byte == b'{';
        let matters = match (self.root, self.depth) {
            (Root::Object, 0) | (Root::Array, 1) => is_object,
            (Root::Array, 0) => !is_object,
            _ => is_object && self.name.of_value().is_some_and(|name| visit.enter(name)),
        };
        self.depth += 1;
        if matters {
            self.looked_into = self.depth;
        }
        self.name.clear();
    }

    fn close(&mut self, visit: &mut impl Visit) {
        let outermost = match self.root {
            Root::Object => 1,
            Root::Array => 2,
        };
        if self.looked_into == self.depth && self.depth > 0 {
            if self.depth > outermost {
                visit.leave();
            }
            self.looked_into -= 1;
        }
        // More may end than has begun: that is no JSON.
        self.depth = self.depth.saturating_sub(1);
        self.name.clear();
    }

    fn name(&mut self, data: &[u8], is_escaped: bool) -> usize {
        let (read, end) = string(data, is_escaped);
        self.name.append(&data[..read]);
        match end {
            End::Ended => {
                self.name.has_ended();
                self.state = State::Structure;
                read + 1
            }
            End::Cut { is_escaped } => {
                self.state = State::Name { is_escaped };
                read
            }
        }
    }

    fn text(&mut self, data: &[u8], is_escaped: bool) -> usize {
        let (read, end) = string(data, is_escaped);
        match end {
            End::Ended => {
                self.state = State::Structure;
                read + 1
            }
            End::Cut { is_escaped } => {
                self.state = State::Text { is_escaped };
                read
            }
        }
    }

    fn number(&mut self, byte: u8, n: Option<u64>, visit: &mut impl Visit) -> usize {
        match byte {
            b'0'..=b'9' => {
                // JSON has no number that begins with 0 and goes on with a digit.
                let longer = n
                    .filter(|&n| n != 0)
                    .map(|n| n * 10 + u64::from(byte - b'0'));
                self.state = State::Number(longer.filter(|&n| n <= MAX_NUMBER));
                1
            }
            // A fraction or an exponent.
            _ if !is_structure(byte) => {
                self.state = State::Word;
                1
            }
            _ => {
                if let (Some(n), Some(name)) = (n, self.name.of_value()) {
                    visit.number(name, n);
                }
                self.name.clear();
                self.state = State::Structure;
                0
            }
        }
    }

    fn word(&mut self, data: &[u8]) -> usize {
        let end = data.iter().position(|&byte| is_structure(byte));
        if end.is_some() {
            self.state = State::Structure;
        }
        end.unwrap_or(data.len())
    }
}

/// Whether a number or a word ends before this.
fn is_structure(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"') || byte.is_ascii_whitespace()
}

/// How a piece of a string ends.
enum End {
    /// At its quote.
    Ended,
    /// It goes on in the next piece.
    Cut { is_escaped: bool },
}

/// How much of `data` belongs to a string that has begun, without its quote.
fn string(data: &[u8], mut is_escaped: bool) -> (usize, End) {
    let mut read = 0;
    loop {
        if is_escaped {
            if read == data.len() {
                return (read, End::Cut { is_escaped });
            }
            read += 1;
        }
        let Some(at) = first_of([b'"', b'\\'], &data[read..]) else {
            return (data.len(), End::Cut { is_escaped: false });
        };
        read += at;
        if data[read] == b'"' {
            return (read, End::Ended);
        }
        read += 1;
        is_escaped = true;
    }
}

/// The name of the member that is being read, in the innermost object that is looked into.
#[derive(Debug, Default)]
struct Name {
    bytes: [u8; MAX_NAME],
    len: usize,
    progress: Progress,
    /// It is longer than anything that is looked for, or has escapes, which nothing has that is looked for.
    is_unusual: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    NotYet,
    Ended,
    /// After its colon.
    ValueFollows,
}

impl Name {
    fn clear(&mut self) {
        self.len = 0;
        self.progress = Progress::NotYet;
        self.is_unusual = false;
    }

    fn is_none(&self) -> bool {
        self.progress == Progress::NotYet
    }

    fn append(&mut self, more: &[u8]) {
        let end = self.len + more.len();
        match self.bytes.get_mut(self.len..end) {
            Some(room) if !self.is_unusual && !more.contains(&b'\\') => {
                room.copy_from_slice(more);
                self.len = end;
            }
            _ => self.is_unusual = true,
        }
    }

    fn has_ended(&mut self) {
        self.progress = Progress::Ended;
    }

    fn belongs_to_what_follows(&mut self) {
        if self.progress == Progress::Ended {
            self.progress = Progress::ValueFollows;
        }
    }

    /// That of the value which is being read.
    fn of_value(&self) -> Option<&[u8]> {
        let is_known = self.progress == Progress::ValueFollows && !self.is_unusual;
        is_known.then(|| &self.bytes[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks into every object whose name does not begin with `_`, and writes down what it is told.
    #[derive(Default)]
    struct Log {
        path: Vec<String>,
        seen: Vec<(String, u64)>,
    }

    impl Visit for Log {
        fn enter(&mut self, name: &[u8]) -> bool {
            let name = String::from_utf8_lossy(name).into_owned();
            let looks = !name.starts_with('_');
            if looks {
                self.path.push(name);
            }
            looks
        }

        fn number(&mut self, name: &[u8], n: u64) {
            let mut path = self.path.join(".");
            path += "/";
            path += &String::from_utf8_lossy(name);
            self.seen.push((path, n));
        }

        fn leave(&mut self) {
            self.path.pop().expect("something was entered");
        }
    }

    fn read_in(root: Root, text: &[u8], piece: usize) -> Vec<(String, u64)> {
        let mut log = Log::default();
        let mut scanner = Scanner::new(root);
        for data in text.chunks(piece) {
            scanner.scan(data, &mut log);
        }
        log.seen
    }

    fn check(root: Root, text: &str, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|&(at, n)| (at.to_owned(), n)).collect();
        for piece in [1, 2, 3, 5, 64, 1_000_000] {
            assert_eq!(read_in(root, text.as_bytes(), piece), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_found_where_they_are_looked_for() {
        check(
            Root::Object,
            r#" {"a":1, "b" : {"c": 22 ,"_d":{"e":3,"f":{"g":4}},"h":[5,{"i":6}]} , "j":77}"#,
            &[("/a", 1), ("b/c", 22), ("/j", 77)],
        );
    }

    #[test]
    fn only_usual_whole_numbers_count() {
        check(
            Root::Object,
            r#"{"a":-1,"b":1.0,"c":1e3,"d":"5","e":null,"f":true,"g":9007199254740993,"h":99999999999999999999999,
                "i":007,"j":[8],"k":0,"l":9007199254740992,"m":1x}"#,
            &[("/k", 0), ("/l", 1 << 53)],
        );
    }

    #[test]
    fn what_a_string_says_is_text() {
        check(
            Root::Object,
            r#"{"s":"\"a\":1,{\"b\":{\"c\":2","t":"\\","\"u\":3,\"v":{"w":4},"x\"":5,"y\\":6,"z":7}"#,
            &[("/z", 7)],
        );
    }

    #[test]
    fn an_array_of_objects_may_stand_at_the_root() {
        check(
            Root::Array,
            "[{\"a\":1},\r\n{\"b\":{\"c\":2}},[{\"d\":3}],\"e\",4,{\"f\":5}]",
            &[("/a", 1), ("b/c", 2), ("/f", 5)],
        );
        check(Root::Array, r#"{"a":1,"b":{"c":2}}"#, &[]);
        check(Root::Object, r#"[{"a":1}]"#, &[]);
    }

    #[test]
    fn texts_may_follow_each_other() {
        check(
            Root::Object,
            "{\"a\":1}\n{\"a\":2} [{\"a\":3}] {\"a\":4",
            &[("/a", 1), ("/a", 2)],
        );
    }

    #[test]
    fn brackets_that_do_not_match_do_no_harm() {
        for text in ["}}]]{\"a\":1}", ",:\"b\":2,{\"a\":1}", "{{[\"a\":1"] {
            for root in [Root::Object, Root::Array] {
                read_in(root, text.as_bytes(), 1);
            }
        }
        check(Root::Object, "}}]]{\"a\":1}", &[("/a", 1)]);
    }

    #[test]
    fn work_is_linear_however_the_text_is_built_and_cut() {
        let len = 300_000;
        let texts = [
            "[".repeat(len),
            format!("{{\"a\":{}", "[".repeat(len)),
            "{\"a\":".repeat(len / 5),
            "\"".repeat(len),
            format!("{{\"{}", "\\".repeat(len)),
            format!("{{\"{}", "x".repeat(len)),
            format!("{{\"a\":{}", "9".repeat(len)),
            "1,".repeat(len / 2),
            ":x".repeat(len / 2),
        ];
        for text in texts {
            for piece in [1, 7, len] {
                let mut scanner = Scanner::new(Root::Object);
                let mut log = Log::default();
                for data in text.as_bytes().chunks(piece) {
                    scanner.scan(data, &mut log);
                }
                assert!(scanner.steps <= 2 * text.len(), "{}", &text[..20]);
            }
        }
    }

    #[test]
    fn a_long_string_is_skipped_in_one_step() {
        let text = format!("{{\"a\":\"{}\",\"b\":2}}", "word ".repeat(1_000_000));
        let mut scanner = Scanner::new(Root::Object);
        let mut log = Log::default();
        scanner.scan(text.as_bytes(), &mut log);
        assert_eq!(log.seen, [("/b".to_owned(), 2)]);
        assert!(scanner.steps < 30, "{} steps", scanner.steps);
    }
}
