//! A thousand who wait for 200 per second, and 250 newcomers a second, for ten seconds.

use std::{collections::HashMap, time::Duration};

use super::LIMITERS;
use crate::compliance::{
    contestants::{Contestant, Limits},
    figures::{Order, rounded, seconds},
    load::{Arrivals, Recorder, Sent, ms, send, virtually},
};

pub const LIMIT: u32 = 200;
const FIRST: usize = 1_000;

/// The thousand, and one every 4 ms.
pub fn arrivals(newcomers: usize) -> Arrivals {
    let first = vec![Duration::ZERO; FIRST];
    let later = (1..=newcomers).map(|i| ms(4) * u32::try_from(i).expect("thousands"));
    first.into_iter().chain(later).collect()
}

pub fn run() -> Vec<Order> {
    let row = |contestant: &dyn Contestant| {
        let arrivals = arrivals(2_500);
        let sent = virtually(0, async {
            let recorder = Recorder::start();
            let client = contestant.client(Limits::per_second(LIMIT), recorder.server());
            send(&client, &arrivals).await;
            recorder.sent()
        });
        Order {
            client: contestant.name(),
            overtaken: overtaken(&sent),
            longest_wait: longest_wait(&arrivals[..FIRST], &sent),
            longest_wait_of_all: longest_wait(&arrivals, &sent),
        }
    };
    LIMITERS.map(row).into()
}

/// The share of pairs of which the later one was sent before the earlier one.
pub fn overtaken(sent: &[Sent]) -> f64 {
    let mut pairs = 0_usize;
    let mut overtaken = 0_usize;
    for (i, first) in sent.iter().enumerate() {
        pairs += i;
        let before = &sent[..i];
        overtaken += before.iter().filter(|s| s.place > first.place).count();
    }
    rounded_share(overtaken, pairs)
}

fn rounded_share(part: usize, whole: usize) -> f64 {
    rounded(part as f64 / whole.max(1) as f64)
}

/// Of those who arrived first; in seconds.
pub fn longest_wait(arrivals: &[Duration], sent: &[Sent]) -> f64 {
    let sent: HashMap<_, _> = sent.iter().map(|sent| (sent.place, sent.at)).collect();
    let waits = arrivals
        .iter()
        .enumerate()
        .map(|(place, arrival)| sent[&place].saturating_sub(*arrival));
    seconds(waits.max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(places: &[usize]) -> Vec<Sent> {
        let sent = |(i, place): (usize, &usize)| Sent {
            place: *place,
            at: ms(1) * u32::try_from(i).unwrap(),
        };
        places.iter().enumerate().map(sent).collect()
    }

    #[test]
    fn each_pair_in_the_wrong_order_counts() {
        assert!(overtaken(&sent(&[0, 1, 2, 3])).abs() < 1e-9);
        assert!((overtaken(&sent(&[3, 2, 1, 0])) - 1.0).abs() < 1e-9);
        assert!((overtaken(&sent(&[1, 0, 2, 3])) - rounded(1.0 / 6.0)).abs() < 1e-9);
    }

    #[test]
    fn a_wait_is_from_ones_own_arrival() {
        let waits = longest_wait(&[ms(0), ms(0), ms(1)], &sent(&[0, 2, 1]));
        assert!((waits - 0.002).abs() < 1e-9);
    }
}
