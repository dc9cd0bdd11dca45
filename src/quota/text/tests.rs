use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{number::TIMES, *};

fn parse(text: &str) -> Quota {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn error(text: &str) -> InvalidQuota {
    match text.parse::<Quota>() {
        Ok(quota) => panic!("{text:?} is {quota:?}"),
        Err(error) => error,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn each_part_is_what_the_builder_calls_it() {
    let unit = Unit::new;
    let tokens = |n, period| Quota::unlimited().units(Unit::TOKENS, n, period);
    for (text, quota) in [
        ("unlimited", Quota::unlimited()),
        ("5/s", Quota::per_second(5)),
        ("5 requests/s", Quota::per_second(5)),
        ("50/m", Quota::per_minute(50)),
        ("100/2min", Quota::per(100, 2 * MINUTE)),
        ("7/h", Quota::per(7, 60 * MINUTE)),
        ("7/d", Quota::per(7, 24 * 60 * MINUTE)),
        ("1_000/250ms", Quota::per(1000, Duration::from_millis(250))),
        ("1/us, 1/1us", {
            let micro = Duration::from_micros(1);
            Quota::per(1, micro).and_per(1, micro)
        }),
        ("30_000 tokens/min", tokens(30_000, MINUTE)),
        ("4 at once", Quota::concurrent(4)),
        (
            "unlimited, margin 1ns",
            Quota::unlimited().margin(Duration::from_nanos(1)),
        ),
        (
            "grace 2s, unlimited, until head",
            Quota::unlimited()
                .grace(Duration::from_secs(2))
                .release_at_head(),
        ),
        (
            "9 output_tokens/s",
            Quota::unlimited().units(Unit::OUTPUT_TOKENS, 9, Duration::from_secs(1)),
        ),
        (
            "9 output_tokens/s counted at dispatch",
            Quota::unlimited().units(unit("output_tokens"), 9, Duration::from_secs(1)),
        ),
        (
            "9 gpt-4.1/s counted at end",
            Quota::unlimited().units(unit("gpt-4.1").at_end(), 9, Duration::from_secs(1)),
        ),
        (
            "9 at/s",
            Quota::unlimited().units(unit("at"), 9, Duration::from_secs(1)),
        ),
        (
            "9 request/s counted at dispatch",
            Quota::unlimited().units(unit("request"), 9, Duration::from_secs(1)),
        ),
    ] {
        assert_eq!(parse(text), quota, "{text}");
        assert_eq!(parse(&quota.to_string()), quota, "{text}");
    }
}

#[test]
fn white_space_and_long_words_are_free() {
    let quota = Quota::per(100, 2 * MINUTE)
        .units(Unit::OUTPUT_TOKENS, 8_000, MINUTE)
        .concurrency(4)
        .margin(Duration::from_millis(50));
    for text in [
        "100/2min,8000 output_tokens/min,4 at once,margin 50ms",
        " 100 / 2 minutes ,\n 8_000\toutput_tokens / minute counted  at end,\n4 at\nonce, margin 50 ms ",
        "margin 50milliseconds, 4 at once, 100 requests/120secs, 8_0_0_0 output_tokens/1m",
    ] {
        assert_eq!(parse(text), quota, "{text:?}");
    }
    for name in [
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "1 s",
        "01s",
        "1_000ms",
        "1000000us",
        "1_000_000\u{b5}s",
        "1_000_000\u{3bc}s",
        "1_000_000 microseconds",
        "1_000_000_000ns",
    ] {
        assert_eq!(parse(&format!("5/{name}")), Quota::per_second(5), "{name}");
    }
}

#[test]
fn is_printed_exactly_and_in_the_longest_unit() {
    let quota = |nanos| Quota::per(1, Duration::from_nanos(nanos)).to_string();
    assert_eq!(quota(1), "1/ns");
    assert_eq!(quota(1_500_000_000), "1/1_500ms");
    assert_eq!(quota(1_000_000_001), "1/1_000_000_001ns");
    assert_eq!(quota(90_000_000_000), "1/90s");
    assert_eq!(quota(7 * 86_400_000_000_000), "1/7d");
    let largest = Quota::per(u32::MAX, Duration::MAX)
        .units(Unit::new("output_tokens"), u64::MAX, Duration::MAX)
        .concurrency(usize::MAX)
        .margin(Duration::MAX)
        .grace(Duration::MAX);
    assert!(largest.to_string().starts_with(
        "4_294_967_295/18_446_744_073_709_551_615_999_999_999ns, 18_446_744_073_709_551_615 output_tokens/"
    ));
    assert_eq!(parse(&largest.to_string()), largest);
}

/// Each of these texts is refused: the part at fault, and what is said about it.
fn are_refused(texts: &[(&str, &str, &str)]) {
    for &(text, part, expected) in texts {
        let error = error(text);
        assert_eq!(error.part(), part, "{text:?}: {error}");
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("quota part {part:?}: ")),
            "{said}"
        );
        assert!(said.contains(expected), "{text:?}: {said}");
        assert!(said.contains("expected") || said.contains("mean"), "{said}");
    }
}

#[test]
fn an_error_names_the_part_and_what_was_expected() {
    are_refused(&[
        ("", "", "it is empty: expected a limit such as"),
        (" , 5/s", "", "it is empty"),
        ("5/s,", "", "it is empty"),
        ("5/s, five", "five", "expected a window such as"),
        ("5 per second", "5 per second", "expected a window"),
        ("4 At Once", "4 At Once", "expected a window"),
        ("1,000/s", "1", "expected a window"),
        ("0/s", "0/s", "expected at least 1"),
        ("5/s, 0_0 tokens/min", "0_0 tokens/min", "at least 1"),
        ("0 at once", "0 at once", "at least 1"),
        ("/s", "/s", "\"\" is not a whole number"),
        ("30k/min", "30k/min", "\"30k\" is not a whole number"),
        ("-5/s", "-5/s", "\"-5\" is not a whole number"),
        ("1.5/s", "1.5/s", "\"1.5\" is not a whole number"),
        ("5_/s", "5_/s", "\"5_\" is not a whole number"),
        ("1__0/s", "1__0/s", "\"1__0\" is not a whole number"),
        ("\u{665}/s", "\u{665}/s", "is not a whole number"),
        ("x at once", "x at once", "\"x\" is not a whole number"),
        ("4294967296/s", "4294967296/s", "at most 4294967295"),
        (
            "18446744073709551616 tokens/s",
            "18446744073709551616 tokens/s",
            "at most 18446744073709551615",
        ),
        (
            "18446744073709551616 at once",
            "18446744073709551616 at once",
            "is too large",
        ),
        (
            "5 two words/s",
            "5 two words/s",
            "\"two words\" is not the name of a unit",
        ),
        ("5 _x/s", "5 _x/s", "\"_x\" is not the name of a unit"),
        ("5 request/s", "5 request/s", "did you mean \"requests\"?"),
        ("5 reqs/s", "5 reqs/s", "did you mean \"requests\"?"),
        ("5 Tokens/s", "5 Tokens/s", "did you mean \"tokens\"?"),
        (
            "5 output-token/s",
            "5 output-token/s",
            "did you mean \"output_tokens\"?",
        ),
    ]);
}

#[test]
fn an_error_names_what_is_wrong_with_a_time() {
    are_refused(&[
        ("5/", "5/", "a time is missing"),
        ("5/2", "5/2", "a time is missing"),
        ("margin", "margin", "a time is missing"),
        ("5/s, margin ms", "margin ms", "a time is missing"),
        ("5/month", "5/month", "\"month\" is not a unit of time"),
        ("5/S", "5/S", "\"S\" is not a unit of time"),
        ("5/s/s", "5/s/s", "\"s/s\" is not a unit of time"),
        ("5/1.5s", "5/1.5s", "\"1.5\" is not a whole number"),
        ("5/_s", "5/_s", "\"_\" is not a whole number"),
        ("5/0s", "5/0s", "a time of 0"),
        ("5/s, grace 0 min", "grace 0 min", "a time of 0"),
        (
            "5/s, margin 50ms or so",
            "margin 50ms or so",
            "\"ms or so\" is not a unit of time",
        ),
        (
            "5/18446744073709551616s",
            "5/18446744073709551616s",
            "too long",
        ),
        (
            "5/400000000000000d",
            "5/400000000000000d",
            "too long to be counted",
        ),
        (
            "5/999999999999999999999999999999999999999999999999ns",
            "5/999999999999999999999999999999999999999999999999ns",
            "too long",
        ),
        (
            "5 tokens/s counted later",
            "5 tokens/s counted later",
            "\"counted later\" after the period",
        ),
    ]);
}

#[test]
fn an_error_names_the_part_that_clashes_with_another() {
    are_refused(&[
        ("5/s counted at end", "5/s counted at end", "requests count"),
        (
            "5 tokens/s, 9 tokens/min counted at end",
            "9 tokens/min counted at end",
            "a window before it counts \"tokens\" at dispatch",
        ),
        (
            "5 output_tokens/s, 9 output_tokens/min counted at dispatch",
            "9 output_tokens/min counted at dispatch",
            "a window before it counts \"output_tokens\" at the answer's end",
        ),
        (
            "1/s,2/s,3/s,4/s,5/s,6/s,7/s,8/s,9/s",
            "9/s",
            "at most 8 windows",
        ),
        (
            "4 at once, 4 at once",
            "4 at once",
            "expected \"at once\" once",
        ),
        ("margin 1s, margin 2s", "margin 2s", "\"margin\" once"),
        ("grace 1s, grace 2s", "grace 2s", "\"grace\" once"),
        (
            "until head, until head",
            "until head",
            "\"until head\" once",
        ),
        ("unlimited, unlimited", "unlimited", "\"unlimited\" once"),
        ("5/s, unlimited", "unlimited", "a limit beside it"),
        (
            "margin 1s, until head",
            "margin 1s",
            "it limits nothing by itself",
        ),
    ]);
}

fn periods() -> impl Strategy<Value = Duration> {
    let times = select(TIMES.map(|(_, nanos)| nanos).to_vec());
    prop_oneof![
        (times, 1u32..2_000).prop_map(|(nanos, count)| {
            Duration::from_nanos(u64::try_from(nanos).unwrap()) * count
        }),
        (any::<u64>(), 1u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn units() -> impl Strategy<Value = Unit> {
    let names = prop_oneof![
        select(vec![
            "requests",
            "request",
            "Requests",
            "req",
            "tokens",
            "token",
            "input_tokens",
            "input-tokens",
            "output_tokens",
            "OUTPUT_TOKENS",
            "credits",
            "credit",
            "at",
            "counted",
            "s",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z][a-zA-Z0-9_.-]{0,22}",
    ];
    (names, any::<bool>()).prop_map(|(name, at_end)| match Unit::new(&name) {
        unit if at_end && !unit.is_requests() => unit.at_end(),
        unit => unit,
    })
}

/// Every quota that the builder can make.
fn quotas() -> impl Strategy<Value = Quota> {
    let limits = || prop_oneof![1..5_000u64, 1..=u64::MAX];
    let windows = vec((units(), limits(), periods()), 0..=MAX_WINDOWS);
    let others = (
        option::of(1..=usize::MAX),
        option::of(periods()),
        option::of(periods()),
        any::<bool>(),
    );
    (windows, others).prop_map(|(windows, (concurrency, margin, grace, until_head))| {
        let mut quota = Quota::unlimited();
        for (unit, n, period) in windows {
            let n = if unit.is_requests() {
                n.min(u32::MAX.into())
            } else {
                n
            };
            // One that disagrees with another is not for the builder.
            if let Ok(more) = quota.clone().with_window(Window::new(unit, n, period)) {
                quota = more;
            }
        }
        if let Some(n) = concurrency {
            quota = quota.concurrency(n);
        }
        if let Some(margin) = margin {
            quota = quota.margin(margin);
        }
        if let Some(grace) = grace {
            quota = quota.grace(grace);
        }
        if until_head {
            quota = quota.release_at_head();
        }
        quota
    })
}

/// What texts of quotas are made of, and a little of what they are not.
fn pieces() -> impl Strategy<Value = String> {
    let known = [
        "5",
        "0",
        "1_000",
        "99999999999999999999",
        "_",
        "/",
        ",",
        " ",
        "\n",
        "s",
        "min",
        "2m",
        "d",
        "requests",
        "tokens",
        "output_tokens",
        "counted",
        "at",
        "end",
        "dispatch",
        "once",
        "margin",
        "grace",
        "until",
        "head",
        "unlimited",
        "50ms",
        "\u{b5}s",
        "\u{e9}",
        "\u{2003}",
        "-",
        ".",
        "\"",
    ];
    prop_oneof![
        9 => select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

/// It is read without a panic: as a quota that the text of which is read again, or with an error that names a part.
fn check(text: &str) -> Result<(), TestCaseError> {
    let read = catch_unwind(AssertUnwindSafe(|| text.parse::<Quota>()));
    match read.map_err(|_| TestCaseError::fail(format!("{text:?} panics")))? {
        Ok(quota) => prop_assert_eq!(parse(&quota.to_string()), quota),
        Err(error) => {
            let is_part = text.split(',').any(|part| part.trim() == error.part());
            prop_assert!(is_part, "{text:?}: {error}");
            let said = error.to_string();
            prop_assert!(said.contains(&format!("{:?}", error.part())), "{said}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same_quota(quota in quotas()) {
        let text = quota.to_string();
        let read = text.parse::<Quota>();
        prop_assert_eq!(read, Ok(quota), "{}", text);
    }

    #[test]
    fn any_text_is_a_quota_or_an_error(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_mixture_of_its_words_is_a_quota_or_an_error(words in vec(pieces(), 0..14)) {
        check(&words.concat())?;
        check(&words.join(" "))?;
    }

    #[test]
    fn a_text_that_was_changed_is_a_quota_or_an_error(
        quota in quotas(),
        changes in vec((any::<prop::sample::Index>(), 0..4usize, pieces()), 1..4),
    ) {
        let mut text: Vec<char> = quota.to_string().chars().collect();
        for (place, removed, piece) in changes {
            let from = place.index(text.len() + 1);
            let to = text.len().min(from + removed);
            text.splice(from..to, piece.chars());
        }
        check(&text.into_iter().collect::<String>())?;
    }
}
