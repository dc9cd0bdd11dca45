//! A text of ten megabytes. In a file of its own, as it looks at the memory of the whole process.

mod common;

use audio_drama::mocks;
use common::Stage;

/// With two segments each, more than a zip of the old kind can number.
const LINES: usize = 33_000;

#[tokio::test]
async fn ten_megabytes_are_voiced_in_order_and_in_little_memory() {
    let stage = Stage::instant(3);
    let long =
        "and so it went on, day after day, for a long time, until nobody knew why. ".repeat(2);
    let lines = (0..LINES).map(|n| format!("Line {n}, {long}“{n}, {long}”\n"));
    let text: String = lines.collect();
    assert!(text.len() > 10_000_000);

    let answer = stage.generate(&text).await;
    if let Some(peak) = peak_memory() {
        // The text, its JSON, the zip that the test has collected, and 66 000 times half a kilobyte.
        assert!(peak < 256 << 20, "{peak} bytes");
    }
    let files = answer.files();
    assert_eq!(files.len(), 2 * LINES + 1);
    for (n, file) in files.iter().take(2 * LINES).enumerate() {
        let (kind, audio) = match n % 2 {
            0 => (
                "narration",
                mocks::narrated(&format!("Line {}, and so", n / 2)),
            ),
            _ => (
                "dialogue",
                mocks::spoken("21m0", &format!("{}, and so it", n / 2)),
            ),
        };
        let name = format!("{:05}_{kind}.mp3", n + 1);
        assert_eq!((&*file.0, &*file.1), (&*name, audio.as_bytes()));
    }
    assert_eq!(stage.tts().accepted, LINES);
    assert!(stage.tts().most_in_flight <= 2);
    stage.assert_calm(3);
}

/// The most that the process has had in memory so far, in bytes, where the system says it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
