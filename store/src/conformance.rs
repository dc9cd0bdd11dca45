//! What any store has to do: a suite that is run against one.
//!
//! [`run`] takes a function that makes a store which nobody has used. It panics where the store does otherwise, and
//! names the rule. Times are real (or tokio's, if paused): the suite takes some seconds where the store is to settle
//! first. It does not look at failures of the store itself.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{
    member::{Heard, Member, Slot},
    protocol::{Answer, Ask, Head, Leaf, Lesson, Micros, News, REQUESTS, Scope, Window},
    store::{Message, Store},
};

/// The length of the suite's windows: long enough that calls are short beside it.
const PERIOD: Duration = Duration::from_millis(400);
/// The length of those that are not to open again in a rule.
const LONG: Duration = Duration::from_millis(1200);

/// Runs every rule, each against a store of its own.
///
/// # Panics
/// If a rule is broken.
pub async fn run<S: Store>(mut store: impl AsyncFnMut() -> S) {
    a_window_holds_n_across_members(&store().await).await;
    a_repeated_call_gets_the_same_answer(&store().await).await;
    an_older_call_does_nothing(&store().await).await;
    the_older_request_goes_first(&store().await).await;
    a_lower_class_goes_first(&store().await).await;
    what_is_given_back_is_granted_again(&store().await).await;
    what_is_settled_lower_is_granted_again(&store().await).await;
    permits_are_out_until_they_are_released(&store().await).await;
    who_waits_for_a_permit_is_woken(&store().await).await;
    scopes_are_taken_together_or_not_at_all(&store().await).await;
    what_counts_at_the_end_counts_until_a_period_after_it(&store().await).await;
    a_pause_holds_all_and_a_late_message_does_not_undo_its_end(&store().await).await;
    lessons_are_heard_by_the_others(&store().await).await;
    the_strictest_configuration_counts(&store().await).await;
    an_ask_that_makes_no_sense_is_refused(&store().await).await;
}

/// A member at a store, with what it heard last.
struct Caller<'a, S> {
    store: &'a S,
    member: Member,
    start: Instant,
    ids: i64,
}

impl<'a, S: Store> Caller<'a, S> {
    /// Joins, and waits until the store grants.
    async fn join(store: &'a S) -> Self {
        let units = [REQUESTS, "tokens", "output"].map(str::to_owned).to_vec();
        let member = Member::new(Member::random_id(), units, store.timing());
        let mut caller = Self {
            store,
            member,
            start: Instant::now(),
            ids: 0,
        };
        loop {
            let heard = caller.say(vec![scope("suite", 1, LONG)], Vec::new()).await;
            if heard.settling == 0 {
                return caller;
            }
            sleep(Duration::from_micros(
                u64::try_from(heard.settling).unwrap_or(0) + 1000,
            ))
            .await;
        }
    }

    fn now(&self) -> Micros {
        crate::memory::micros(self.start.elapsed())
    }

    async fn answer(&self, ask: &Ask) -> Answer {
        for _ in 0..20 {
            match self.store.ask(ask).await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_away(), "{error}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the store does not answer");
    }

    async fn say(&mut self, scopes: Vec<Scope>, leaves: Vec<Leaf>) -> Heard {
        let now = self.now();
        let ask = self.member.ask(now, scopes, leaves).clone();
        let answer = self.answer(&ask).await;
        let now = self.now();
        self.member.hear(now, &answer)
    }

    /// One leaf with so many heads, each with such costs, of such an age, in all of the scopes.
    async fn want(
        &mut self,
        scopes: &[Scope],
        many: usize,
        age: Micros,
        costs: &[i64],
    ) -> Vec<Slot> {
        let leaf = self.leaf(scopes.len(), many, age, costs);
        self.say(scopes.to_vec(), vec![leaf]).await.slots
    }

    fn leaf(&mut self, scopes: usize, many: usize, age: Micros, costs: &[i64]) -> Leaf {
        let heads = (0..many).map(|_| {
            self.ids += 1;
            Head {
                id: self.ids,
                costs: costs.to_vec(),
                permits: None,
            }
        });
        let waiting = i64::try_from(many).unwrap_or(0);
        Leaf {
            leaf: 1,
            scopes: (0..scopes).collect(),
            heads: heads.collect(),
            ages: vec![age; many],
            waiting,
            totals: costs.iter().map(|cost| cost * waiting).collect(),
            ..Leaf::default()
        }
    }
}

fn scope(name: &str, n: i64, period: Duration) -> Scope {
    let window = Window {
        unit: REQUESTS.to_owned(),
        n,
        period: crate::memory::micros(period),
        ..Window::default()
    };
    Scope {
        name: name.to_owned(),
        windows: vec![window],
        ..Scope::default()
    }
}

fn permits(name: &str, permits: i64) -> Scope {
    Scope {
        name: name.to_owned(),
        permits: Some(permits),
        ..Scope::default()
    }
}

async fn a_window_holds_n_across_members<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let scopes = [scope("rate", 5, PERIOD)];
    let first = a.want(&scopes, 3, 0, &[]).await.len();
    let second = b.want(&scopes, 4, 0, &[]).await.len();
    assert_eq!(
        (first, second),
        (3, 2),
        "5 of 5 are granted to both together"
    );
    sleep(PERIOD + Duration::from_millis(50)).await;
    assert_eq!(
        a.want(&scopes, 3, 0, &[]).await.len(),
        3,
        "a period later there is room again"
    );
}

async fn a_repeated_call_gets_the_same_answer<S: Store>(store: &S) {
    let mut a = Caller::join(store).await;
    let leaf = a.leaf(1, 2, 0, &[]);
    let now = a.now();
    let ask = a
        .member
        .ask(now, vec![scope("rate", 2, PERIOD)], vec![leaf])
        .clone();
    let (once, again) = (a.answer(&ask).await, a.answer(&ask).await);
    assert_eq!(once.leaves[0].grants.len(), 2, "2 of 2 are granted");
    assert_eq!(once, again, "a repeated call gets the same answer");
}

async fn an_older_call_does_nothing<S: Store>(store: &S) {
    let mut a = Caller::join(store).await;
    let scopes = [scope("rate", 1, PERIOD)];
    let leaf = a.leaf(1, 1, 0, &[]);
    let now = a.now();
    let old = a.member.ask(now, scopes.to_vec(), vec![leaf]).clone();
    let newer = Ask {
        seq: old.seq + 1,
        leaves: Vec::new(),
        ..old.clone()
    };
    a.answer(&newer).await;
    let answer = a.answer(&old).await;
    assert!(
        answer.stale && answer.leaves.is_empty(),
        "an older call is told so: {answer:?}"
    );
    let mut b = Caller::join(store).await;
    assert_eq!(
        b.want(&scopes, 1, 0, &[]).await.len(),
        1,
        "an older call takes nothing"
    );
}

async fn the_older_request_goes_first<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let scopes = [scope("rate", 1, PERIOD)];
    assert_eq!(
        a.want(&scopes, 1, 0, &[]).await.len(),
        1,
        "the first goes at once"
    );
    assert!(
        a.want(&scopes, 1, 5_000_000, &[]).await.is_empty(),
        "the window is full"
    );
    let leaf = b.leaf(1, 1, 1_000_000, &[]);
    let heard = b.say(scopes.to_vec(), vec![leaf]).await;
    let wait = heard.leaves[0].1.wait.unwrap_or(0);
    let period = crate::memory::micros(PERIOD);
    assert!(
        wait > period,
        "the younger waits for its turn after the older: {wait} us"
    );
}

async fn a_lower_class_goes_first<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let scopes = [scope("rate", 1, PERIOD)];
    a.want(&scopes, 1, 0, &[]).await;
    let low = Leaf {
        class: 2,
        ..a.leaf(1, 1, 5_000_000, &[])
    };
    a.say(scopes.to_vec(), vec![low]).await;
    let high = b.leaf(1, 1, 0, &[]);
    let heard = b.say(scopes.to_vec(), vec![high]).await;
    let wait = heard.leaves[0].1.wait.unwrap_or(0);
    let period = crate::memory::micros(PERIOD);
    assert!(
        wait <= period + 50_000,
        "class 0 passes class 2, however old: {wait} us"
    );
}

async fn what_is_given_back_is_granted_again<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let scopes = [scope("rate", 1, LONG)];
    let slots = a.want(&scopes, 1, 0, &[]).await;
    assert!(
        b.want(&scopes, 1, 0, &[]).await.is_empty(),
        "the window is full"
    );
    a.member.give_back(&slots[0], false);
    a.say(scopes.to_vec(), Vec::new()).await;
    assert_eq!(
        b.want(&scopes, 1, 0, &[]).await.len(),
        1,
        "what was given back is free"
    );
}

async fn what_is_settled_lower_is_granted_again<S: Store>(store: &S) {
    let mut a = Caller::join(store).await;
    let mut tokens = scope("tokens", 100, LONG);
    "tokens".clone_into(&mut tokens.windows[0].unit);
    let slots = a.want(std::slice::from_ref(&tokens), 1, 0, &[1, 80]).await;
    assert!(
        a.want(std::slice::from_ref(&tokens), 1, 0, &[1, 80])
            .await
            .is_empty(),
        "80 and 80 are more than 100"
    );
    a.member.settled(&slots[0], 1, 10);
    let slots = a.want(std::slice::from_ref(&tokens), 1, 0, &[1, 80]).await;
    assert_eq!(slots.len(), 1, "10 and 80 are not");
    a.member.settled(&slots[0], 1, 120);
    assert!(
        a.want(&[tokens], 1, 0, &[1, 5]).await.is_empty(),
        "a debt closes the window"
    );
}

async fn permits_are_out_until_they_are_released<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let scopes = [permits("permits", 2)];
    let slots = a.want(&scopes, 2, 0, &[]).await;
    assert_eq!(slots.len(), 2, "2 of 2 are granted");
    assert!(b.want(&scopes, 1, 0, &[]).await.is_empty(), "all are out");
    let now = a.now();
    a.member.dispatched(&slots[0], now);
    a.member.ended(slots[0].id, None, now);
    a.say(scopes.to_vec(), Vec::new()).await;
    assert_eq!(b.want(&scopes, 1, 0, &[]).await.len(), 1, "one came back");
}

async fn who_waits_for_a_permit_is_woken<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let mut mailbox = store.listen(b.member.id());
    sleep(Duration::from_millis(100)).await;
    let scopes = [permits("permits", 1)];
    let slots = a.want(&scopes, 1, 0, &[]).await;
    b.want(&scopes, 1, 0, &[]).await;
    while mailbox.take().is_some() {}
    let now = a.now();
    a.member.ended(slots[0].id, None, now);
    a.say(scopes.to_vec(), Vec::new()).await;
    let message = timeout(Duration::from_secs(2), mailbox.next()).await;
    assert_eq!(
        message,
        Ok(Message::Ask),
        "a permit that came back wakes who waits for it"
    );
}

async fn scopes_are_taken_together_or_not_at_all<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let (full, wide) = (permits("full", 1), scope("wide", 2, LONG));
    a.want(std::slice::from_ref(&full), 1, 0, &[]).await;
    assert!(
        a.want(&[full, wide.clone()], 1, 5_000_000, &[])
            .await
            .is_empty(),
        "one scope is full"
    );
    assert_eq!(
        b.want(&[wide], 2, 0, &[]).await.len(),
        2,
        "who waits elsewhere takes nothing here"
    );
}

async fn what_counts_at_the_end_counts_until_a_period_after_it<S: Store>(store: &S) {
    let mut a = Caller::join(store).await;
    let mut output = scope("output", 100, PERIOD);
    "output".clone_into(&mut output.windows[0].unit);
    output.windows[0].at_end = true;
    let slots = a
        .want(std::slice::from_ref(&output), 1, 0, &[1, 0, 60])
        .await;
    sleep(PERIOD + Duration::from_millis(50)).await;
    assert!(
        a.want(std::slice::from_ref(&output), 1, 0, &[1, 0, 60])
            .await
            .is_empty(),
        "it has not ended"
    );
    let now = a.now();
    a.member.ended(slots[0].id, Some(vec![1, 0, 50]), now);
    assert!(
        a.want(std::slice::from_ref(&output), 1, 0, &[1, 0, 60])
            .await
            .is_empty(),
        "its period has begun"
    );
    assert_eq!(
        a.want(std::slice::from_ref(&output), 1, 0, &[1, 0, 50])
            .await
            .len(),
        1,
        "50 and 50 fit"
    );
    sleep(PERIOD + Duration::from_millis(50)).await;
    assert_eq!(
        a.want(&[output], 1, 0, &[1, 0, 50]).await.len(),
        1,
        "its period is over"
    );
}

async fn a_pause_holds_all_and_a_late_message_does_not_undo_its_end<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let mut mailbox = store.listen(b.member.id());
    sleep(Duration::from_millis(100)).await;
    while mailbox.take().is_some() {}
    let plain = scope("paused", 100, PERIOD);
    let pause = Scope {
        pause: Some(5_000_000),
        ..plain.clone()
    };
    let heard = a.say(vec![pause.clone()], Vec::new()).await;
    assert!(
        heard.scopes[0].1.paused > 4_000_000,
        "it is paused: {:?}",
        heard.scopes
    );
    let message = timeout(Duration::from_secs(2), mailbox.next()).await;
    let all_hear = matches!(&message, Ok(Message::News(News::Pause { scope, left, .. })) if scope == "paused" && *left > 4_000_000);
    assert!(all_hear, "the others hear of it: {message:?}");
    assert!(
        b.want(std::slice::from_ref(&plain), 1, 0, &[])
            .await
            .is_empty(),
        "the pause holds all"
    );
    b.say(
        vec![Scope {
            resume: true,
            ..plain.clone()
        }],
        Vec::new(),
    )
    .await;
    a.say(vec![pause], Vec::new()).await;
    let heard = b.want(&[plain], 1, 0, &[]).await;
    assert_eq!(
        heard.len(),
        1,
        "a pause of before the resumption does not come back"
    );
}

async fn lessons_are_heard_by_the_others<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    let plain = scope("learned", 100, PERIOD);
    let lesson = Lesson {
        subject: "ceiling".to_owned(),
        value: 7,
    };
    a.say(
        vec![Scope {
            lessons: vec![lesson.clone()],
            ..plain.clone()
        }],
        Vec::new(),
    )
    .await;
    let heard = b.say(vec![plain.clone()], Vec::new()).await;
    assert_eq!(
        heard.scopes[0].1.lessons,
        [lesson],
        "what one learned the other hears"
    );
    let heard = b.say(vec![plain], Vec::new()).await;
    assert!(heard.scopes[0].1.lessons.is_empty(), "once");
}

async fn the_strictest_configuration_counts<S: Store>(store: &S) {
    let (mut a, mut b) = (Caller::join(store).await, Caller::join(store).await);
    a.say(vec![scope("limits", 2, PERIOD)], Vec::new()).await;
    let leaf = b.leaf(1, 5, 0, &[]);
    let heard = b.say(vec![scope("limits", 5, PERIOD)], vec![leaf]).await;
    assert_eq!(heard.slots.len(), 2, "the smaller n counts for all");
    let warning = heard.warnings.first();
    let named = warning.is_some_and(|warning| {
        (warning.scope.as_str(), warning.mine, warning.theirs) == ("limits", 5, 2)
            && warning.member == a.member.id()
    });
    assert!(named, "the difference is told by name: {warning:?}");
}

async fn an_ask_that_makes_no_sense_is_refused<S: Store>(store: &S) {
    let member = "NOT A NAME".to_owned();
    let ask = Ask {
        member,
        seq: 1,
        units: vec![REQUESTS.to_owned()],
        ..Ask::default()
    };
    let error = store
        .ask(&ask)
        .await
        .expect_err("an ask that makes no sense is refused");
    assert!(
        !error.is_away() && error.to_string().contains("NOT A NAME"),
        "{error}"
    );
}
