//! What successes tell of the server's limits.

use super::{
    at,
    learned::{Client, refusal},
};
use crate::{
    Quota,
    bucket::{RefusalKind, Report},
};

fn maximum(limit: u32) -> Report {
    Report {
        maximum_concurrency: Some(limit),
        ..Report::default()
    }
}

#[test]
fn a_success_may_name_the_limit() {
    let mut client = Client::new(&Quota::concurrent(10));
    client.send(1, at(0));
    client.report(1, &maximum(4), at(0));
    assert_eq!(client.bucket.lessons(at(0)).concurrency, Some((4, true)));
}

#[test]
fn who_was_sent_before_the_refusals_raises_no_limit() {
    for (serial, named, learned) in [
        // Of the last wave: not more, but as many, or fewer.
        (5, 3, (2, false)),
        (5, 2, (2, true)),
        (5, 1, (1, true)),
        // Sent since.
        (6, 3, (3, true)),
        (6, 1, (1, true)),
    ] {
        let mut client = Client::new(&Quota::concurrent(10));
        client.send(5, at(0));
        client.refuse(3, &refusal(RefusalKind::Concurrency(None), None), at(0));
        client.end(5);
        client.send(1, at(0));
        client.report(serial, &maximum(named), at(0));
        let lessons = client.bucket.lessons(at(0));
        assert_eq!(lessons.concurrency, Some(learned), "{serial} {named}");
    }
}
