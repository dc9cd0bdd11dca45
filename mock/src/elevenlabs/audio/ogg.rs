//! Silence as Opus in Ogg.

use std::time::Duration;

/// A packet of 20 ms in which nothing is coded: full band, mono.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

const SAMPLES_PER_PACKET: u64 = 960;

/// How many packets a page holds: a second of them.
const PACKETS_PER_PAGE: usize = 50;

/// How many samples a player drops at the start. Any number would do, since they are silent too.
const PRE_SKIP: u16 = 312;

/// The stream's number. There is one in each file, so that any number would do.
const SERIAL: u32 = 0x5445_5354;

const FIRST: u8 = 2;
const LAST: u8 = 4;

pub(super) fn opus(duration: Duration) -> Vec<u8> {
    let samples = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX) / 1_000 * 48;
    let packets = samples.div_ceil(SAMPLES_PER_PACKET).max(1);
    let packets = usize::try_from(packets).unwrap_or(usize::MAX);
    let mut ogg = Ogg::default();

    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0; 3]); // No gain; the usual channels.
    ogg.page(FIRST, 0, &[&head]);

    let mut tags = b"OpusTags".to_vec();
    tags.extend(4_u32.to_le_bytes());
    tags.extend(b"mock");
    tags.extend([0; 4]); // No comments.
    ogg.page(0, 0, &[&tags]);

    let mut done = 0;
    while done < packets {
        let now = PACKETS_PER_PAGE.min(packets - done);
        done += now;
        let kind = if done == packets { LAST } else { 0 };
        let position = done as u64 * SAMPLES_PER_PACKET;
        ogg.page(kind, position, &vec![&SILENCE[..]; now]);
    }
    ogg.data
}

#[derive(Default)]
struct Ogg {
    data: Vec<u8>,
    pages: u32,
}

impl Ogg {
    /// Appends a page of whole packets, each shorter than 255 bytes. `position` is the number of
    /// samples up to its end.
    fn page(&mut self, kind: u8, position: u64, packets: &[&[u8]]) {
        let start = self.data.len();
        self.data.extend(b"OggS\0");
        self.data.push(kind);
        self.data.extend(position.to_le_bytes());
        self.data.extend(SERIAL.to_le_bytes());
        self.data.extend(self.pages.to_le_bytes());
        self.data.extend([0; 4]); // The checksum, which is computed with zeros in its place.
        self.data.push(lacing(packets.len()));
        let lengths = packets.iter().map(|packet| lacing(packet.len()));
        self.data.extend(lengths);
        for packet in packets {
            self.data.extend(*packet);
        }
        let sum = checksum(&self.data[start..]);
        self.data[start + 22..start + 26].copy_from_slice(&sum.to_le_bytes());
        self.pages += 1;
    }
}

/// A number that has a byte for itself.
fn lacing(n: usize) -> u8 {
    u8::try_from(n).expect("pages and packets are kept small")
}

/// Ogg's own CRC: the usual polynomial, the other way round.
fn checksum(data: &[u8]) -> u32 {
    data.iter().fold(0, |sum: u32, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| {
            let carry = sum >> 31;
            (sum << 1) ^ (carry * 0x04c1_1db7)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of the checksum are those that a catalogue lists as CRC-32/MPEG-2, without
    /// its start value.
    #[test]
    fn the_checksum_is_oggs() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"\x01"), 0x04c1_1db7);
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn pages_follow_each_other_up_to_the_last() {
        let audio = opus(Duration::from_millis(2_010));
        let (mut at, mut pages, mut packets) = (0, 0, 0);
        let mut last = (0, 0);
        while at < audio.len() {
            let page = &audio[at..];
            assert_eq!(&page[..5], b"OggS\0");
            assert_eq!(page[18], pages);
            let segments = usize::from(page[26]);
            let body: usize = page[27..27 + segments]
                .iter()
                .map(|n| usize::from(*n))
                .sum();
            let length = 27 + segments + body;
            let mut copy = page[..length].to_vec();
            copy[22..26].fill(0);
            assert_eq!(page[22..26], checksum(&copy).to_le_bytes());
            last = (page[5], u64::from_le_bytes(page[6..14].try_into().unwrap()));
            packets += segments;
            pages += 1;
            at += length;
        }
        // Two headers, two seconds, and a page with the rest.
        assert_eq!(pages, 5);
        assert_eq!(packets, 2 + 101);
        assert_eq!(last, (LAST, 101 * 960));
    }
}
