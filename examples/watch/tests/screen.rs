//! Screens of fixed states, cell by cell.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Cell,
    style::{Color, Modifier},
};
use watch::{Bucket, Head, News, Stack, View, Window, terminal};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn window(label: &str, used: u64, allowed: u64, falls_in: Option<Duration>) -> Window {
    let label = label.to_owned();
    Window {
        label,
        used,
        allowed,
        falls_in,
    }
}

fn plain(name: &str) -> Bucket {
    Bucket {
        name: name.to_owned(),
        ..Bucket::default()
    }
}

/// A bucket of which everything is to be said.
fn busy() -> Bucket {
    let mut by_second = vec![0; 60];
    (by_second[2], by_second[30], by_second[59]) = (1, 8, 2);
    Bucket {
        windows: vec![
            window("5/s", 5, 5, Some(ms(240))),
            window("4_000 tokens/min", 1_000, 4_000, None),
        ],
        in_flight: 3,
        concurrency: Some(4),
        waiting: 12,
        head: Some(Head {
            age: ms(3_210),
            awaits: Some("a window of requests at overall".to_owned()),
        }),
        paused_for: Some(ms(1_250)),
        learned: Some("4 per 1 s, a margin of 5.0 %".to_owned()),
        refused: 7,
        throttled_by_second: by_second,
        ..plain("POST /v1/text-to-speech/{voice_id}")
    }
}

fn stack(buckets: impl Into<Vec<Bucket>>) -> Stack {
    Stack {
        buckets: buckets.into(),
        ..Stack::default()
    }
}

fn view(stack: Stack) -> View {
    let mut view = View::new("test");
    view.update(Ok(stack));
    view
}

fn screen(view: &mut View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal
}

fn press(view: &mut View, keys: impl IntoIterator<Item = KeyCode>) {
    for key in keys {
        let flow = view.on_key(KeyEvent::new(key, KeyModifiers::NONE));
        assert!(flow.is_continue(), "{key:?} ends the view");
    }
}

/// What is on a screen, without the blanks at the ends of lines.
fn rows(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let terminal = screen(view, width, height);
    let rows = terminal.backend().buffer().content.chunks(width.into());
    let text = |row: &[Cell]| row.iter().map(Cell::symbol).collect::<String>();
    rows.map(|row| text(row).trim_end().to_owned()).collect()
}

/// The names that are marked as selected.
fn selected(view: &mut View) -> Vec<String> {
    let rows = rows(view, 80, 12).into_iter();
    let rows = rows.filter(|row| row.starts_with('▶'));
    rows.map(|row| row.trim_start_matches('▶').trim().to_owned())
        .collect()
}

#[test]
fn a_bucket_shows_everything() {
    let mut view = view(Stack {
        backing_off: Some(2),
        throttled_last_minute: 11,
        is_closed: true,
        news: vec![News {
            ago: ms(65_000),
            bucket: "/a".to_owned(),
            words: "resumed".to_owned(),
        }],
        ..stack([busy()])
    });
    let expected = [
        "test: 1 bucket, 1 paused, 2 backing off, 11 throttled in the last minute, closed",
        "▶ POST /v1/text-to-speech/{voice_id}                         ▁         █        ▂ 429s: 11",
        "    5/s                    ███████████████████████████  5/5  frees up in 0.2 s",
        "    4_000 tokens/min       ██████▊░░░░░░░░░░░░░░░░░░░░  1000/4000",
        "    in flight              ████████████████████▎░░░░░░  3/4",
        "    waiting: 12, the first for 3.2 s, for a window of requests at overall",
        "    paused for 1.3 s more",
        "    learned: 4 per 1 s, a margin of 5.0 %",
        "    refused by the layer: 7",
        "",
        "──────────────────────────────────────────────────────────────────────────────────────────",
        " 1 min 5 s ago  /a: resumed",
        "q quits  p pauses  ↑ ↓ PgUp PgDn Home End select",
    ];
    assert_eq!(rows(&mut view, 90, 13), expected);
}

#[test]
fn a_narrow_terminal_gets_figures() {
    let mut view = view(stack([busy()]));
    let expected = [
        "test: 1 bucket, 1 paused",
        "▶ POST /v1/text-to-speech/{vo…  429s: 11",
        "    5/s: 5/5  frees up in 0.2 s",
        "    4_000 tokens/min: 1000/4000",
        "    in flight: 3/4",
        "    waiting: 12, the first for 3.2 s, f…",
        "    paused for 1.3 s more",
        "    learned: 4 per 1 s, a margin of 5.0…",
        "    refused by the layer: 7",
        "",
        "q quits  p pauses  ↑ ↓ PgUp PgDn Home E…",
    ];
    assert_eq!(rows(&mut view, 40, 11), expected);
}

#[test]
fn colours_say_how_full_a_window_is() {
    let fill = [
        (2, Color::Green),
        (3, Color::Yellow),
        (4, Color::Red),
        (9, Color::Red),
    ];
    for (used, colour) in fill {
        for width in [40, 90] {
            let mut bucket = plain("/a");
            bucket.windows = vec![window("4/s", used, 4, None)];
            let mut view = view(stack([bucket]));
            let terminal = screen(&mut view, width, 5);
            let buffer = terminal.backend().buffer();
            // The first letter where there is no gauge, and the first cell of the gauge.
            let x = if width == 40 { 4 } else { 27 };
            assert_eq!(buffer[(x, 2)].fg, colour, "{used} of 4, {width} columns");
        }
    }
}

#[test]
fn the_selected_bucket_is_reversed_and_others_are_not() {
    let mut view = view(stack([plain("/a"), plain("/b")]));
    press(&mut view, [KeyCode::Down]);
    let terminal = screen(&mut view, 80, 6);
    let is_reversed = |y| {
        terminal.backend().buffer()[(2, y)]
            .modifier
            .contains(Modifier::REVERSED)
    };
    assert_eq!([1, 3].map(is_reversed), [false, true]);
}

#[test]
fn a_window_that_is_more_than_full_shows_as_full() {
    let mut bucket = plain("/a");
    bucket.windows = vec![
        window("100 tokens/s", u64::MAX, 100, None),
        window("0/s", 0, 0, None),
    ];
    bucket.in_flight = 1;
    let mut view = view(stack([bucket]));
    let rows = rows(&mut view, 80, 6);
    assert_eq!(
        rows[2],
        format!(
            "    {:<22} {}  {}/100",
            "100 tokens/s",
            "█".repeat(17),
            u64::MAX
        )
    );
    assert_eq!(
        rows[3],
        format!("    {:<22} {}  0/0", "0/s", "·".repeat(17))
    );
    assert_eq!(
        rows[4],
        format!(
            "    {:<22} {}  1, without a limit",
            "in flight",
            "·".repeat(17)
        )
    );
}

#[test]
fn nothing_is_known_yet() {
    let mut view = View::new("test");
    let empty = "  No buckets: nothing is configured, or nothing is known yet.";
    let help = "q quits  p pauses  ↑ ↓ PgUp PgDn Home End select";
    assert_eq!(rows(&mut view, 70, 4), ["test: 0 buckets", empty, "", help]);
    view.update(Err("connection refused".to_owned()));
    let foot = format!("connection refused  {help}");
    assert_eq!(rows(&mut view, 70, 4)[3], foot);
}

#[test]
fn what_was_known_stays_when_a_look_fails() {
    let mut view = view(stack([plain("/a")]));
    view.update(Err("connection refused".to_owned()));
    assert_eq!(selected(&mut view), ["/a"]);
    view.update(Ok(stack([plain("/b")])));
    assert_eq!(selected(&mut view), ["/b"]);
    assert!(!rows(&mut view, 80, 12)[11].contains("refused"));
}

#[test]
fn among_many_buckets_the_selected_one_is_always_seen() {
    let many = || stack((0..50).map(|n| plain(&format!("/{n}"))).collect::<Vec<_>>());
    let mut view = view(many());
    for n in 1..50 {
        press(&mut view, [KeyCode::Down]);
        assert_eq!(selected(&mut view), [format!("/{n}")]);
    }
    // There are no more.
    press(&mut view, [KeyCode::Down]);
    assert_eq!(selected(&mut view), ["/49"]);
    press(&mut view, [KeyCode::PageUp]);
    // Two lines for each of them, and ten for all.
    assert_eq!(selected(&mut view), ["/44"]);
    press(&mut view, [KeyCode::Up, KeyCode::Home]);
    assert_eq!(selected(&mut view), ["/0"]);
    press(&mut view, [KeyCode::PageDown]);
    assert_eq!(selected(&mut view), ["/5"]);
    press(&mut view, [KeyCode::End]);
    assert_eq!(selected(&mut view), ["/49"]);
    // Keys that have gone take the selection with them.
    view.update(Ok(stack([plain("/0"), plain("/1")])));
    assert_eq!(selected(&mut view), ["/1"]);
}

#[test]
fn a_long_name_leaves_room_for_what_is_beside_it() {
    let mut bucket = busy();
    bucket.name = "GET /".to_owned() + &"very-".repeat(40) + "long";
    bucket.partition = Some("00ff".to_owned());
    let mut view = view(stack([bucket]));
    for width in [30, 40, 73, 74, 100] {
        let row = &rows(&mut view, width, 12)[1];
        assert!(row.starts_with("▶ GET /very-"), "{row}");
        assert!(row.contains('…') && row.ends_with(" 429s: 11"), "{row}");
        assert_eq!(row.chars().count(), usize::from(width), "{row}");
    }
    // Letters that are two columns wide are not cut in half.
    let mut bucket = plain(&"音".repeat(60));
    bucket.throttled_by_second = vec![1];
    let mut view = self::view(stack([bucket]));
    for width in [30, 31] {
        let row = &rows(&mut view, width, 6)[1];
        assert!(row.contains("音…") || row.contains("音 …"), "{row}");
        assert!(row.ends_with(" 429s: 1"), "{row}");
    }
}

#[test]
fn any_size_is_drawn() {
    let stacks = [
        Stack::default(),
        stack([busy()]),
        stack((0..9).map(|_| busy()).collect::<Vec<_>>()),
    ];
    for stack in stacks {
        let mut view = view(stack);
        press(&mut view, [KeyCode::End]);
        for width in (0..12).chain([30, 80, 300]) {
            for height in (0..12).chain([100]) {
                screen(&mut view, width, height);
            }
        }
    }
}

#[test]
fn a_paused_view_keeps_what_it_shows() {
    let mut view = view(stack([plain("/a")]));
    press(&mut view, [KeyCode::Char('p')]);
    view.update(Ok(stack([plain("/b")])));
    assert_eq!(selected(&mut view), ["/a"]);
    assert!(rows(&mut view, 80, 12)[11].starts_with("PAUSED  q quits"));
    press(&mut view, [KeyCode::Char('p')]);
    view.update(Ok(stack([plain("/b")])));
    assert_eq!(selected(&mut view), ["/b"]);
}

#[test]
fn three_keys_end_the_view() {
    let mut view = View::new("test");
    let ends = [
        (KeyCode::Char('q'), KeyModifiers::NONE, true),
        (KeyCode::Esc, KeyModifiers::NONE, true),
        (KeyCode::Char('c'), KeyModifiers::CONTROL, true),
        (KeyCode::Char('c'), KeyModifiers::NONE, false),
        (KeyCode::Enter, KeyModifiers::NONE, false),
    ];
    for (key, modifiers, is_end) in ends {
        let flow = view.on_key(KeyEvent::new(key, modifiers));
        assert_eq!(flow.is_break(), is_end, "{key:?}");
    }
}

#[test]
fn as_text_a_view_is_as_high_as_it_has_to_be() {
    let buckets: Vec<_> = (0..100).map(|n| plain(&format!("/{n}"))).collect();
    let text = terminal::text(&mut view(stack(buckets)), 80);
    // The head, two lines each, and the foot.
    assert_eq!(text.lines().count(), 202);
    assert!(text.contains("  /99\n"), "{text}");
}

#[test]
fn a_hundred_thousand_buckets_are_scrolled_through() {
    let buckets: Vec<_> = (0..100_000).map(|n| plain(&format!("/{n}"))).collect();
    let mut view = view(stack(buckets));
    press(&mut view, [KeyCode::End, KeyCode::Up]);
    assert_eq!(selected(&mut view), ["/99998"]);
}
