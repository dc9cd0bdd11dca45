//! Speech with the times at which each character is spoken.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::elevenlabs::audio;

/// One object for all of it.
pub(super) fn whole(audio: &[u8], text: &str, speed: f64) -> String {
    let characters: Vec<_> = text.chars().collect();
    part(audio, &characters, 0, speed).to_string()
}

/// So many objects, a line each: each with its part of the audio and of the text.
pub(super) fn lines(audio: &[u8], text: &str, speed: f64, chunks: usize) -> Vec<String> {
    let characters: Vec<_> = text.chars().collect();
    let share = |of: usize, at: usize| of * at / chunks;
    let line = |at| {
        let (from, to) = (share(audio.len(), at), share(audio.len(), at + 1));
        let audio = &audio[from..to];
        let (from, to) = (share(characters.len(), at), share(characters.len(), at + 1));
        let part = part(audio, &characters[from..to], from, speed);
        format!("{part}\n")
    };
    (0..chunks).map(line).collect()
}

/// `first` is the number of characters before these.
fn part(audio: &[u8], characters: &[char], first: usize, speed: f64) -> Value {
    let times = |from: usize| -> Vec<f64> {
        let times = (from..from + characters.len()).map(|n| audio::duration(n, speed));
        times.map(milliseconds).collect()
    };
    let characters: Vec<_> = characters.iter().map(char::to_string).collect();
    let alignment = json!({
        "characters": characters,
        "character_start_times_seconds": times(first),
        "character_end_times_seconds": times(first + 1),
    });
    json!({
        "audio_base64": BASE64_STANDARD.encode(audio),
        "alignment": alignment,
        // Nothing is normalised.
        "normalized_alignment": alignment,
    })
}

/// In seconds, rounded.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up_to_the_whole() {
        let (audio, text) = (b"AUDIO(voic):Hello...", "Hello, wörld");
        let whole: Value = serde_json::from_str(&whole(audio, text, 1.0)).unwrap();
        let ends = whole["alignment"]["character_end_times_seconds"].as_array();
        assert_eq!(ends.unwrap().last().unwrap(), 0.75);

        let lines = lines(audio, text, 1.0, 5);
        assert_eq!(lines.len(), 5);
        let (mut bytes, mut characters, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines {
            assert_eq!(line.find('\n'), Some(line.len() - 1));
            let line: Value = serde_json::from_str(&line).unwrap();
            let part = line["audio_base64"].as_str().unwrap();
            bytes.extend(BASE64_STANDARD.decode(part).unwrap());
            let alignment = &line["alignment"];
            characters.extend(alignment["characters"].as_array().unwrap().clone());
            let times = &alignment["character_start_times_seconds"];
            starts.extend(times.as_array().unwrap().clone());
        }
        assert_eq!(bytes, audio);
        let alignment = &whole["alignment"];
        assert_eq!(Value::from(characters), alignment["characters"]);
        let times = &alignment["character_start_times_seconds"];
        assert_eq!(&Value::from(starts), times);
    }
}
