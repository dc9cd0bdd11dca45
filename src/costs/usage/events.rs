//! The data of server-sent events, which come in pieces.
//!
//! As the HTML standard has it: lines end with CR, LF or both; a line without content ends an event; the data of an
//! event are its lines `data:`, joined by line feeds. Comments, names, ids and what keeps the connection alive are
//! skipped. The reader that holds this one has taken a byte order mark off the beginning.

use crate::costs::find::first_of;

const DATA: &[u8] = b"data";

/// A piece of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// More of the event's data.
    Data(&'a [u8]),
    /// The event is complete.
    End,
}

/// Where in the stream a reader is. No line is kept.
#[derive(Debug)]
pub(super) struct Events {
    line: Line,
    /// A line feed that comes next belongs to the line before.
    has_carriage_return: bool,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    /// So many bytes of it have come, and they are those of [`DATA`].
    Name(usize),
    Data,
    /// One that says nothing here.
    Other,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            line: Line::Name(0),
            has_carriage_return: false,
        }
    }

    pub(super) fn read<'a>(&mut self, mut stream: &'a [u8], mut on: impl FnMut(Piece<'a>)) {
        while let Some(&byte) = stream.first() {
            if std::mem::take(&mut self.has_carriage_return) && byte == b'\n' {
                stream = &stream[1..];
                continue;
            }
            let used = match self.line {
                Line::Name(len) => {
                    self.name(len, byte, &mut on);
                    1
                }
                Line::Data | Line::Other => self.content(stream, &mut on),
            };
            stream = &stream[used..];
        }
    }

    /// The next byte of a line of which all that has come is the beginning of `data`.
    fn name<'a>(&mut self, len: usize, byte: u8, on: &mut impl FnMut(Piece<'a>)) {
        self.line = match byte {
            b'\r' | b'\n' => {
                if len == 0 {
                    on(Piece::End);
                }
                self.end_line(byte)
            }
            _ if DATA.get(len) == Some(&byte) => Line::Name(len + 1),
            b':' if len == DATA.len() => Line::Data,
            _ => Line::Other,
        };
    }

    fn content<'a>(&mut self, stream: &'a [u8], on: &mut impl FnMut(Piece<'a>)) -> usize {
        let end = first_of([b'\r', b'\n'], stream);
        let content = &stream[..end.unwrap_or(stream.len())];
        let is_data = matches!(self.line, Line::Data);
        // The space after the colon is part of it: in JSON that is nothing.
        if is_data && !content.is_empty() {
            on(Piece::Data(content));
        }
        let Some(end) = end else {
            return stream.len();
        };
        if is_data {
            on(Piece::Data(b"\n"));
        }
        self.line = self.end_line(stream[end]);
        end + 1
    }

    fn end_line(&mut self, byte: u8) -> Line {
        self.has_carriage_return = byte == b'\r';
        Line::Name(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of each event that is complete, and what has come of the last.
    fn read(stream: &str, piece: usize) -> Vec<String> {
        let mut read = vec![String::new()];
        let mut events = Events::new();
        for part in stream.as_bytes().chunks(piece) {
            events.read(part, |piece| match piece {
                Piece::Data(data) => {
                    let event = read.last_mut().expect("there is always one");
                    *event += std::str::from_utf8(data).expect("only ASCII was cut");
                }
                Piece::End => read.push(String::new()),
            });
        }
        read
    }

    fn check(stream: &str, expected: &[&str]) {
        for ends in ["\n", "\r", "\r\n"] {
            let stream = stream.replace('\n', ends);
            for piece in [1, 2, 3, 7, 10_000] {
                let events = read(&stream, piece);
                let events: Vec<_> = events.iter().map(|event| event.trim()).collect();
                assert_eq!(events, expected, "{stream:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        check("data: 1\n\ndata:2\n\n", &["1", "2", ""]);
    }

    #[test]
    fn the_data_of_an_event_are_its_lines() {
        check("data: {\ndata:1\ndata\ndata: }\n\n", &["{\n1\n }", ""]);
    }

    #[test]
    fn other_lines_say_nothing() {
        check(
            ": ping\nevent: data\nid: data: 1\ndatum: 2\ndata : 3\n data: 4\nretry: 5\ndat\nDATA: 6\ndata: 7\n\n",
            &["7", ""],
        );
    }

    #[test]
    fn an_event_that_is_not_complete_is_told_as_far_as_it_came() {
        check("data: 1\n\ndata: 2", &["1", "2"]);
    }

    #[test]
    fn work_is_linear_however_the_stream_is_built() {
        for line in [
            "\n",
            "\r",
            "\r\n",
            "data:\n",
            "data:x\r\n",
            "data:\n\n",
            "d",
            ":",
            "data:",
        ] {
            let stream = line.repeat(10_000);
            for piece in [1, 3, stream.len()] {
                let mut told = 0;
                let mut events = Events::new();
                for part in stream.as_bytes().chunks(piece) {
                    events.read(part, |_| told += 1);
                }
                assert!(told <= stream.len(), "{line:?}");
            }
        }
    }

    #[test]
    fn line_ends_may_be_mixed() {
        assert_eq!(read("data:1\r\r\ndata:2\n\rdata:3", 1), ["1\n", "2\n", "3"]);
    }
}
