use super::{
    events::{Events, Piece},
    figures::Figures,
    vendors::Vendor,
};
use crate::costs::{
    cost::Cost,
    json::{Root, Scanner},
    settle::SettleBody,
};

/// Reads what an API says about usage, from a body that is text.
#[derive(Debug)]
pub(super) struct Reader {
    vendor: &'static Vendor,
    text: Text,
}

/// What kind of text the body is.
#[derive(Debug)]
enum Text {
    /// Nothing but white space has come.
    Unknown,
    Json(Scanner, Figures),
    Events(Events, Scanner, Figures),
    /// An array, from an API that sends none.
    Other,
}

impl Reader {
    pub(super) fn new(vendor: &'static Vendor) -> Self {
        Self {
            vendor,
            text: Text::Unknown,
        }
    }

    pub(super) fn read(&mut self, mut data: &[u8]) {
        if let Text::Unknown = self.text {
            // The second part is a byte order mark. It may be cut, too.
            let is_blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(byte);
            let blank = data.iter().take_while(|byte| is_blank(byte)).count();
            data = &data[blank..];
            if let Some(&first) = data.first() {
                self.text = Text::beginning_with(first, self.vendor);
            }
        }
        match &mut self.text {
            Text::Json(scanner, figures) => scanner.scan(data, figures),
            Text::Events(events, scanner, figures) => events.read(data, |piece| match piece {
                Piece::Data(data) => scanner.scan(data, figures),
                Piece::End => {
                    scanner.restart();
                    figures.restart();
                }
            }),
            Text::Unknown | Text::Other => {}
        }
    }

    /// What has been learned since the last time.
    pub(super) fn news(&mut self) -> Option<Cost> {
        self.figures()?.news()
    }

    fn figures(&mut self) -> Option<&mut Figures> {
        match &mut self.text {
            Text::Json(_, figures) | Text::Events(_, _, figures) => Some(figures),
            Text::Unknown | Text::Other => None,
        }
    }
}

impl Text {
    /// No line of an event stream that says anything begins with a bracket, so this is a better guide than the content
    /// type, which some servers leave out or get wrong.
    fn beginning_with(first: u8, vendor: &'static Vendor) -> Self {
        let json = |root, places| Self::Json(Scanner::new(root), Figures::new(vendor, places));
        match first {
            b'{' => json(Root::Object, vendor.in_document),
            b'[' if vendor.in_element.is_empty() => Self::Other,
            b'[' => json(Root::Array, vendor.in_element),
            _ => Self::Events(
                Events::new(),
                Scanner::new(Root::Object),
                Figures::new(vendor, vendor.in_event),
            ),
        }
    }
}

impl SettleBody for Reader {
    fn chunk(&mut self, data: &[u8]) -> Option<Cost> {
        self.read(data);
        self.news()
    }

    fn end(&mut self) -> Option<Cost> {
        self.figures()?.end()
    }
}
