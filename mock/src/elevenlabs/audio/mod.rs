//! What the mock's voices say: the demo's bytes, or silence that a player takes.

mod format;
mod ogg;

use std::time::Duration;

use bytes::Bytes;

use self::format::Codec;
pub(super) use self::format::Format;

/// How fast the API speaks, more or less.
const CHARACTERS_PER_SECOND: f64 = 16.0;

/// What speech consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audio {
    /// `AUDIO(` + first 4 characters of the voice's id + `):` + first 10 of the text + `...`, whatever
    /// the format: to see at a glance which answer belongs to which request.
    #[default]
    Text,
    /// Silence that players take, in the format that was asked for, as long as reading the text aloud
    /// would take: 16 characters per second. Opus is not filled up to its bit rate.
    Silence,
}

impl Audio {
    /// The whole of it. `speed` is the setting of that name, 1.0 by default.
    pub(super) fn speech(self, format: Format, voice_id: &str, text: &str, speed: f64) -> Bytes {
        match self {
            Self::Text => {
                // Characters, not bytes: half a character would be no text at all.
                let first = |text: &str, n| text.chars().take(n).collect::<String>();
                format!("AUDIO({}):{}...", first(voice_id, 4), first(text, 10)).into()
            }
            Self::Silence => silence(format, duration(text.chars().count(), speed)),
        }
    }
}

/// How long it takes to speak so many characters.
pub(super) fn duration(characters: usize, speed: f64) -> Duration {
    #[allow(clippy::cast_precision_loss)] // Texts are shorter than that.
    let seconds = characters as f64 / CHARACTERS_PER_SECOND / speed;
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn silence(format: Format, duration: Duration) -> Bytes {
    match format.codec {
        Codec::Mp3 => mp3(format, duration),
        Codec::Pcm => vec![0; 2 * samples(format, duration)].into(),
        Codec::Wav => wav(format, duration),
        Codec::Opus => ogg::opus(duration).into(),
        // The codes of the sample 0.
        Codec::Ulaw => vec![0xff; samples(format, duration)].into(),
        Codec::Alaw => vec![0xd5; samples(format, duration)].into(),
    }
}

fn samples(format: Format, duration: Duration) -> usize {
    let samples = duration.as_nanos() * u128::from(format.rate) / 1_000_000_000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}

/// Frames of MPEG-1 (or, below 32 kHz, MPEG-2) layer III, mono, in which nothing is coded.
///
/// A header, and then zeros: side information that says that there is nothing, and padding to the
/// length that the bit rate gives the frame.
fn mp3(format: Format, duration: Duration) -> Bytes {
    let Format { rate, kbps, .. } = format;
    let mpeg1 = rate >= 32_000;
    let version = if mpeg1 { 0xfb } else { 0xf3 };
    let rates: [u32; 14] = if mpeg1 {
        [
            32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ]
    } else {
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    };
    let mut indices = (1_u8..).zip(rates);
    let known = indices.find(|(_, known)| *known == kbps);
    // A `Format` has no other.
    let bit_rate = known.map_or(0, |(index, _)| index);
    let sample_rate = match rate {
        44_100 | 22_050 => 0,
        _ => 1,
    };
    let frame_samples = if mpeg1 { 1_152 } else { 576 };
    let frames = samples(format, duration).div_ceil(frame_samples as usize);
    // A frame has a fraction of a byte left over; where those add up to one, the frame is padded.
    let eighths = frame_samples / 8 * kbps * 1_000;
    let (length, left_over) = (eighths / rate, eighths % rate);
    let mut audio = Vec::with_capacity(frames * (length as usize + 1));
    let mut owed = 0;
    for _ in 0..frames {
        owed += left_over;
        let padding = u8::from(owed >= rate);
        owed %= rate;
        let end = audio.len() + length as usize + usize::from(padding);
        audio.extend([
            0xff,
            version,
            bit_rate << 4 | sample_rate << 2 | padding << 1,
            0xc0,
        ]);
        audio.resize(end, 0);
    }
    audio.into()
}

/// Samples of 16 bits, mono, with the header that says so.
fn wav(format: Format, duration: Duration) -> Bytes {
    let rate = format.rate;
    let length = 2 * samples(format, duration);
    let size = u32::try_from(length).unwrap_or(u32::MAX);
    let mut audio = Vec::with_capacity(44 + length);
    audio.extend(b"RIFF");
    audio.extend(size.saturating_add(36).to_le_bytes());
    audio.extend(b"WAVEfmt ");
    audio.extend(16_u32.to_le_bytes());
    audio.extend([1, 0, 1, 0]); // Not compressed; one channel.
    audio.extend(rate.to_le_bytes());
    audio.extend((rate * 2).to_le_bytes());
    audio.extend([2, 0, 16, 0]); // Two bytes at once; 16 bits each.
    audio.extend(b"data");
    audio.extend(size.to_le_bytes());
    audio.resize(44 + length, 0);
    audio.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(name: &str) -> Bytes {
        silence(Format::parse(name).unwrap(), Duration::from_secs(1))
    }

    /// Walks from frame to frame, as a player does.
    fn frames(mut audio: &[u8], rate: usize, kbps: usize, samples: usize) -> usize {
        let mut count = 0;
        while !audio.is_empty() {
            assert_eq!((audio[0], audio[1] & 0xf6), (0xff, 0xf2), "frame {count}");
            let padding = usize::from(audio[2] >> 1 & 1);
            let length = samples / 8 * kbps * 1_000 / rate + padding;
            assert!(audio[4..length].iter().all(|byte| *byte == 0));
            audio = &audio[length..];
            count += 1;
        }
        count
    }

    #[test]
    fn mp3_consists_of_whole_frames_at_the_bit_rate() {
        for kbps in [32, 64, 96, 128, 192] {
            let audio = second(&format!("mp3_44100_{kbps}"));
            assert_eq!(frames(&audio, 44_100, kbps, 1_152), 39);
            // 39 frames are 1.0188 s.
            let exact = 39 * 144 * kbps * 1_000 / 44_100;
            assert_eq!(audio.len(), exact, "{kbps}");
        }
        assert_eq!(frames(&second("mp3_22050_32"), 22_050, 32, 576), 39);
        assert_eq!(frames(&second("mp3_24000_48"), 24_000, 48, 576), 42);
    }

    /// The header of a frame of 128 kbit/s at 44.1 kHz, and of 32 kbit/s at 22.05 kHz, mono.
    #[test]
    fn mp3_headers_say_what_was_asked_for() {
        assert_eq!(second("mp3_44100_128")[..4], [0xff, 0xfb, 0x90, 0xc0]);
        assert_eq!(second("mp3_22050_32")[..4], [0xff, 0xf3, 0x40, 0xc0]);
        assert_eq!(second("mp3_24000_48")[..4], [0xff, 0xf3, 0x64, 0xc0]);
    }

    #[test]
    fn samples_are_as_many_as_the_rate_says() {
        assert_eq!(second("pcm_16000").len(), 32_000);
        assert_eq!(second("ulaw_8000"), vec![0xff; 8_000]);
        assert_eq!(second("alaw_8000"), vec![0xd5; 8_000]);
        let wav = second("wav_24000");
        assert_eq!(wav.len(), 44 + 48_000);
        assert_eq!(wav[24..28], 24_000_u32.to_le_bytes());
        assert_eq!(wav[40..44], 48_000_u32.to_le_bytes());
    }

    #[test]
    fn speech_is_as_long_as_its_text() {
        let speech = |text, speed| {
            Audio::Silence
                .speech(Format::DEFAULT, "a", text, speed)
                .len()
        };
        let text = "a".repeat(160);
        // 16 000 bytes per second, and at most one frame more.
        assert!((160_000..160_418).contains(&speech(&text, 1.0)));
        assert!((200_000..200_418).contains(&speech(&text, 0.8)));
        assert_eq!(speech("", 1.0), 0);
    }
}
