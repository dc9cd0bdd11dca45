//! What is dialogue and what is narration.

use std::{fmt::Write as _, num::NonZeroUsize};

use audio_drama::split::{Kind, Segment, split};
use proptest::prelude::*;

fn at_most(chars: usize) -> NonZeroUsize {
    NonZeroUsize::new(chars).unwrap()
}

fn segments(text: &str, max_chars: usize) -> Vec<(Kind, &str)> {
    split(text, at_most(max_chars))
        .map(|Segment { kind, range }| (kind, &text[range]))
        .collect()
}

/// As text: what is dialogue in angle brackets, what is narration in square ones.
fn told(text: &str) -> String {
    let segments = segments(text, 10_000).into_iter();
    let told = segments.map(|(kind, text)| match kind {
        Kind::Dialogue => format!("<{text}>"),
        Kind::Narration => format!("[{text}]"),
    });
    told.collect()
}

#[test]
fn every_kind_of_marks_makes_dialogue() {
    for (open, close) in [
        ('“', '”'),
        ('"', '"'),
        ('「', '」'),
        ('『', '』'),
        ('«', '»'),
    ] {
        let text = format!("Ann said: {open}Come in!{close} And he did.");
        assert_eq!(told(&text), "[Ann said:]<Come in!>[And he did.]", "{text}");
    }
}

#[test]
fn chinese_needs_no_space() {
    assert_eq!(
        told("他说：“你好。”然后走了。「再见！」她说。"),
        "[他说：]<你好。>[然后走了。]<再见！>[她说。]"
    );
    assert_eq!(told("她说\"好吧\"就走了"), "[她说]<好吧>[就走了]");
}

#[test]
fn quotes_in_quotes_are_part_of_them() {
    assert_eq!(
        told("“He called it ‘art’, and 「more」,” said Ann."),
        "<He called it ‘art’, and 「more」,>[said Ann.]"
    );
    assert_eq!(told("「他说『走吧』。」我说。"), "<他说『走吧』。>[我说。]");
    assert_eq!(
        told("“He said “no” to me,” said Ann."),
        "<He said “no” to me,>[said Ann.]"
    );
    assert_eq!(told("\"A “b” c,\" said Ann."), "<A “b” c,>[said Ann.]");
    // The outer marks count, even if the inner ones cross them.
    assert_eq!(told("“one 「two” three」"), "<one 「two>[three」]");
}

#[test]
fn neighbouring_quotes_are_segments_of_their_own() {
    assert_eq!(told("“Ann?”“Bob!”"), "<Ann?><Bob!>");
}

#[test]
fn what_has_no_letter_is_not_spoken() {
    assert_eq!(told("“…” — “Ann?” 😀 “!”"), "<Ann?>");
    assert_eq!(told(""), "");
    assert_eq!(told(" \n“”\n。"), "");
}

#[test]
fn a_quote_goes_on_over_lines_if_it_is_closed() {
    assert_eq!(
        told("“Roses are red,\nviolets are blue,\n\nand so on,” he sang.\nFin."),
        "<Roses are red,\nviolets are blue,\n\nand so on,>[he sang.\nFin.]"
    );
    assert_eq!(
        told("\"Roses are red,\nviolets are blue,\" he sang."),
        "<Roses are red,\nviolets are blue,>[he sang.]"
    );
    assert_eq!(told("「一\n二」三"), "<一\n二>[三]");
}

#[test]
fn each_paragraph_of_a_long_speech_is_a_quote() {
    assert_eq!(
        told("“First.\n\n“Second.\n\n“Third,” he said."),
        "<First.><Second.><Third,>[he said.]"
    );
    assert_eq!(
        told("\"First.\n\n\"Second,\" he said."),
        "<First.><Second,>[he said.]"
    );
}

#[test]
fn a_forgotten_mark_spoils_its_line_only() {
    assert_eq!(
        told("“Hello, said Ann.\nBob came. “Bye,” he said."),
        "<Hello, said Ann.>[Bob came.]<Bye,>[he said.]"
    );
    assert_eq!(
        told("\"Hello, said Ann.\nBob came. \"Bye,\" he said."),
        "<Hello, said Ann.>[Bob came.]<Bye,>[he said.]"
    );
    assert_eq!(
        told("“A “b c,” said Ann.\n“D,” said Bob."),
        "<A “b c,” said Ann.><D,>[said Bob.]"
    );
    assert_eq!(told("At the end “of all"), "[At the end]<of all>");
}

#[test]
fn a_closing_mark_alone_means_nothing() {
    assert_eq!(
        told("Hello,” said Ann. “Bye」,” said Bob."),
        "[Hello,” said Ann.]<Bye」,>[said Bob.]"
    );
    assert_eq!(
        told("Hello.\" said Ann. \"Bye,\" said Bob."),
        "[Hello.\" said Ann.]<Bye,>[said Bob.]"
    );
}

#[test]
fn inches_are_no_quotes() {
    assert_eq!(told("A 5\" pipe, 3\"x4\"."), "[A 5\" pipe, 3\"x4\".]");
}

#[test]
fn apostrophes_are_no_quotes() {
    for narration in [
        "It’s the dogs’ food, and ’tis good.",
        "Rock ‘n’ roll.",
        "The so-called ‘expert’ was wrong.",
        "‘Twas the night, he said.",
        "O‘Brien said, ‘no such thing’ exists",
    ] {
        assert_eq!(told(narration), format!("[{narration}]"));
    }
}

#[test]
fn single_marks_are_quotes_where_it_is_clear() {
    assert_eq!(
        told("‘Come in,’ said Ann. ‘It’s the dogs’ food!’"),
        "<Come in,>[said Ann.]<It’s the dogs’ food!>"
    );
}

/// The texts of the segments.
fn pieces(text: &str, max: usize) -> Vec<&str> {
    let segments = segments(text, max).into_iter();
    segments.map(|(_, text)| text).collect()
}

#[test]
fn long_segments_are_cut_at_the_end_of_a_sentence() {
    assert_eq!(
        pieces("One two. Three four! Five?", 14),
        ["One two.", "Three four!", "Five?"]
    );
    assert_eq!(pieces("One. Two. Three.", 10), ["One. Two.", "Three."]);
    assert_eq!(pieces("一二。三四！五", 4), ["一二。", "三四！五"]);
    assert_eq!(pieces("Is 3.14 right", 9), ["Is 3.14", "right"]);
    assert_eq!(
        pieces("He (alone.) went on", 14),
        ["He (alone.)", "went on"]
    );
    assert_eq!(pieces("One\ntwo three", 8), ["One", "two", "three"]);
}

#[test]
fn without_sentences_it_is_commas_then_words_then_anything() {
    assert_eq!(
        pieces("one, two three four", 12),
        ["one,", "two three", "four"]
    );
    assert_eq!(pieces("一二，三四五六七", 5), ["一二，", "三四五六七"]);
    assert_eq!(pieces("one two three", 8), ["one two", "three"]);
    assert_eq!(pieces("abcdefgh", 3), ["abc", "def", "gh"]);
    assert_eq!(pieces("一二三", 1), ["一", "二", "三"]);
}

#[test]
fn dialogue_that_is_cut_stays_dialogue() {
    assert_eq!(
        segments("“One. Two.” three", 5),
        [
            (Kind::Dialogue, "One."),
            (Kind::Dialogue, "Two."),
            (Kind::Narration, "three"),
        ]
    );
}

/// In proportion to the square, each of these would take minutes.
#[test]
fn whatever_is_in_a_text_it_takes_time_in_proportion() {
    for pattern in [
        "“",
        "”",
        "\"",
        "‘",
        "’",
        "‘a ",
        "“\n",
        "\"\n",
        "‘\n",
        "\n",
        " ",
        ". ",
        "a",
        "“a",
        "「“\"‘«",
        "。",
        ", ",
        "\"a\n",
        "“a\n‘",
        "!’\n‘",
    ] {
        let text = pattern.repeat(300_000 / pattern.len());
        let chars: usize = split(&text, at_most(2_500))
            .map(|segment| segment.range.len())
            .sum();
        assert!(chars <= text.len());
    }
}

/// Texts in which all that means something is frequent.
fn any_text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        8 => prop::sample::select("“”\"‘’「」『』«»".chars().collect::<Vec<_>>()),
        4 => prop::sample::select(".,!?…。，！？:;—()5".chars().collect::<Vec<_>>()),
        4 => prop::sample::select(" \n\u{3000}\t".chars().collect::<Vec<_>>()),
        6 => prop::sample::select("ab一二ß".chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ];
    prop::collection::vec(char, 0..200).prop_map(String::from_iter)
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}( [a-z]{1,8}){0,3}[.,!?]", "[一-三]{1,6}[。！？]"]
}

/// What somebody says, with others' words in it.
fn speech() -> impl Strategy<Value = String> {
    words().prop_recursive(3, 6, 3, |inner| {
        (words(), inner, 0..4_usize, words()).prop_map(|(before, inner, marks, after)| {
            let (open, close) = [("“", "”"), ("「", "」"), ("『", "』"), ("«", "»")][marks];
            format!("{before} {open}{inner}{close} {after}")
        })
    })
}

/// A script without faults: the text, and what it is made of.
fn script() -> impl Strategy<Value = (String, Vec<(Kind, String)>)> {
    let part = (words(), speech(), 0..5_usize, prop::bool::ANY);
    prop::collection::vec(part, 1..8).prop_map(|parts| {
        let mut text = String::new();
        let mut expected = Vec::new();
        for (narration, speech, marks, new_line) in parts {
            let all = [
                ("“", "”"),
                ("「", "」"),
                ("『", "』"),
                ("«", "»"),
                ("\"", "\""),
            ];
            let (open, close) = all[marks];
            let space = if new_line { "\n\n" } else { " " };
            let _ = write!(text, "{narration} {open}{speech}{close}{space}");
            expected.push((Kind::Narration, narration));
            expected.push((Kind::Dialogue, speech));
        }
        (text, expected)
    })
}

proptest! {
    #[test]
    fn the_segments_and_what_is_between_them_are_the_text(text in any_text(), max in 1..40_usize) {
        let mut at = 0;
        let mut rebuilt = String::new();
        for Segment { range, .. } in split(&text, at_most(max)) {
            prop_assert!(at <= range.start && range.start < range.end);
            let between = &text[at..range.start];
            prop_assert!(!between.contains(char::is_alphanumeric), "unspoken: {between:?}");
            let spoken = &text[range.clone()];
            prop_assert!(spoken.contains(char::is_alphanumeric), "no words: {spoken:?}");
            prop_assert_eq!(spoken.trim(), spoken);
            prop_assert!(spoken.chars().count() <= max);
            rebuilt.push_str(between);
            rebuilt.push_str(spoken);
            at = range.end;
        }
        prop_assert!(!text[at..].contains(char::is_alphanumeric));
        rebuilt.push_str(&text[at..]);
        prop_assert_eq!(rebuilt, text);
    }

    #[test]
    fn cutting_changes_nothing_but_where_segments_end(text in any_text(), max in 1..40_usize) {
        let spoken = |max| -> Vec<(Kind, char)> {
            let segments = segments(&text, max).into_iter();
            segments
                .flat_map(|(kind, text)| text.chars().map(move |c| (kind, c)))
                .filter(|(_, c)| c.is_alphanumeric())
                .collect()
        };
        prop_assert_eq!(spoken(max), spoken(10_000));
    }

    #[test]
    fn a_script_without_faults_is_told_as_it_was_meant((text, expected) in script()) {
        let found: Vec<_> = segments(&text, 10_000)
            .into_iter()
            .map(|(kind, text)| (kind, text.to_owned()))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
