//! What the demo promises: part one of it, run as it is, and its command line.

use std::time::Duration;

use super::{
    options::{self, Command, Options},
    row::Row,
    table, virtual_time,
};
use tower_throttle::mock::{
    Work,
    elevenlabs::{CLONE_VOICE, TTS},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn scores(rows: &[Row]) -> Vec<(usize, usize, usize, usize)> {
    let scores = rows.iter().map(|row| &row.score);
    let scores = scores.map(|score| {
        let (rate, concurrency) = (score.refused_by_rate, score.refused_by_concurrency);
        (score.accepted, rate, concurrency, score.most_in_flight)
    });
    scores.collect()
}

#[test]
fn two_and_five_users_are_all_accepted_as_fast_as_the_limits_allow() {
    for seed in 0..20 {
        let (rows, _) = virtual_time::run(seed, &[2, 5]).unwrap();
        assert!(rows.iter().all(Row::is_as_expected));
        assert_eq!(
            scores(&rows),
            [(2, 0, 0, 1), (5, 0, 0, 1), (2, 0, 0, 2), (5, 0, 0, 4)]
        );

        let clone = Work::uniform(ms(800)..ms(10_200)).draws(seed, CLONE_VOICE);
        let clone: Vec<_> = clone.take(5).collect();
        // One after the other, and never two within a second.
        let one_by_one = |users: usize| {
            let (last, before) = clone[..users].split_last().unwrap();
            before
                .iter()
                .map(|time| ms(1_000).max(*time))
                .sum::<Duration>()
                + *last
        };
        let tts = Work::uniform(ms(200)..ms(400)).draws(seed, TTS);
        let tts: Vec<_> = tts.take(5).collect();
        // Four at once; the fifth as soon as one of them is done.
        let two = *tts[..2].iter().max().unwrap();
        let fifth = *tts[..4].iter().min().unwrap() + tts[4];
        let five = fifth.max(*tts[..4].iter().max().unwrap());
        let took: Vec<_> = rows.iter().map(|row| row.took).collect();
        assert_eq!(
            took,
            [one_by_one(2), one_by_one(5), two, five],
            "seed {seed}"
        );
    }
}

#[test]
fn ten_segments_unlimited_three_at_a_time_and_one_by_one() {
    let (_, rows) = virtual_time::run(0, &[]).unwrap();
    assert!(rows.iter().all(Row::is_as_expected));
    assert_eq!(scores(&rows), [(4, 0, 6, 10), (10, 0, 0, 3), (10, 0, 0, 1)]);
    let took: Vec<_> = rows.iter().map(|row| row.took).collect();
    assert_eq!(took, [ms(12_000), ms(48_000), ms(120_000)]);
}

#[test]
fn a_table_is_aligned() {
    let (_, rows) = virtual_time::run(0, &[]).unwrap();
    let table = table::of(&rows);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[1],
        "  unlimited            4 at once             4 of 10     6     12.000 s     10 in 1 s      10 at once"
    );
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
}

#[test]
fn the_command_line_is_understood() {
    let run = |seed, users: &[usize], runs| {
        Command::Run(Options {
            seed,
            users: users.to_vec(),
            runs,
        })
    };
    let understood: [(&[&str], Command); 6] = [
        (&[], run(0, &[2, 5], 1)),
        (&["--seed", "7", "--runs=50"], run(7, &[2, 5], 50)),
        (&["--users", "1,3"], run(0, &[1, 3], 1)),
        (&["--users", "1", "--users=3"], run(0, &[1, 3], 1)),
        (&["--runs", "2", "--skip-real"], run(0, &[2, 5], 0)),
        (&["--seed", "7", "-h"], Command::Help),
    ];
    let options = ["--seed", "--users", "--runs", "--skip-real", "--help"];
    assert!(options.iter().all(|option| options::HELP.contains(option)));
    for (args, command) in understood {
        assert_eq!(Options::parse(args).unwrap(), command, "{args:?}");
    }
}

#[test]
fn a_bad_command_line_is_refused_with_the_reason() {
    let refused: [(&[&str], &str); 8] = [
        (&["--speed"], "invalid option '--speed'"),
        (&["fast"], "unexpected argument \"fast\""),
        (&["--seed"], "missing argument for option '--seed'"),
        (
            &["--seed", "-1"],
            "--seed: expected a whole number, not \"-1\": invalid digit found in string",
        ),
        (
            &["--users", "2,"],
            "--users: expected a whole number, not \"\": cannot parse integer from empty string",
        ),
        (&["--users", "0"], "--users: expected at least 1, not 0"),
        (&["--users", "10001"], "--users: 10001 is more than 10000"),
        (&["--runs", "0"], "--runs: expected at least 1, not 0"),
    ];
    for (args, reason) in refused {
        assert_eq!(Options::parse(args).unwrap_err().to_string(), reason);
    }
}
