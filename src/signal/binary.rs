//! Base64 and the wire format of protobuf, as far as the details of a gRPC error need them.

/// The bytes of a base64 text, padded or not; `None` if it is none.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            // The bits above are of bytes that were pushed before.
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

/// What a field of a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, up to where it is malformed. Those of a fixed size are passed over.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut rest)?;
            let value = match key & 7 {
                0 => Value::Number(varint(&mut rest)?),
                1 => {
                    rest = rest.get(8..)?;
                    continue;
                }
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let bytes = rest.get(..length)?;
                    rest = &rest[length..];
                    Value::Bytes(bytes)
                }
                5 => {
                    rest = rest.get(4..)?;
                    continue;
                }
                _ => return None,
            };
            return Some((key >> 3, value));
        }
    })
}

/// The first bytes of a field.
pub(super) fn bytes(message: &[u8], field: u64) -> Option<&[u8]> {
    fields(message).find_map(|(of, value)| match value {
        Value::Bytes(bytes) if of == field => Some(bytes),
        _ => None,
    })
}

/// The first number of a field; one that is left out is 0.
pub(super) fn number(message: &[u8], field: u64) -> u64 {
    let mut numbers = fields(message).filter_map(|(of, value)| match value {
        Value::Number(number) if of == field => Some(number),
        _ => None,
    });
    numbers.next().unwrap_or(0)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_with_and_without_padding() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("+/-_").as_deref(), Some(&[0xfb, 0xff, 0xbf][..]));
        assert_eq!(base64("Zm 9v"), None);
    }

    #[test]
    fn fields_of_a_message() {
        let message = b"\x08\x96\x01\x11abcdefgh\x12\x02hi\x25abcd\x18\x07";
        let all: Vec<_> = fields(message).collect();
        let hi = Value::Bytes(b"hi");
        assert_eq!(
            all,
            [(1, Value::Number(150)), (2, hi), (3, Value::Number(7))]
        );
        assert_eq!(bytes(message, 2), Some(&b"hi"[..]));
        assert_eq!((number(message, 3), number(message, 4)), (7, 0));
        // One that is cut short ends where it was cut.
        assert_eq!(fields(b"\x08\x07\x12\x05hi").count(), 1);
        assert_eq!(fields(&[0xff; 20]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(message in prop::collection::vec(any::<u8>(), 0..60), text in "\\PC{0,60}") {
            prop_assert!(fields(&message).count() <= message.len());
            let _ = base64(&text);
        }
    }
}
