//! The values of `output_format`.

use http::HeaderValue;

use tower_throttle_plans::elevenlabs::Plan;

/// How audio is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::elevenlabs) struct Format {
    pub(super) codec: Codec,
    /// In hertz.
    pub(super) rate: u32,
    /// In thousands of bits per second; 0 where the codec leaves no choice.
    pub(super) kbps: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Mp3,
    Pcm,
    Wav,
    Opus,
    Ulaw,
    Alaw,
}

impl Format {
    /// What a request that names none gets: `mp3_44100_128`.
    pub(in crate::elevenlabs) const DEFAULT: Self = Self {
        codec: Codec::Mp3,
        rate: 44_100,
        kbps: 128,
    };

    pub(in crate::elevenlabs) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let codec = parts.next()?;
        let rate = number(parts.next()?)?;
        let kbps = match parts.next() {
            Some(text) => number(text)?,
            None => 0,
        };
        let (codec, known) = match codec {
            "mp3" => {
                let known = match rate {
                    44_100 => [32, 64, 96, 128, 192].contains(&kbps),
                    24_000 => kbps == 48,
                    22_050 => kbps == 32,
                    _ => false,
                };
                (Codec::Mp3, known)
            }
            "opus" => {
                let known = rate == 48_000 && [32, 64, 96, 128, 192].contains(&kbps);
                (Codec::Opus, known)
            }
            "pcm" => (Codec::Pcm, kbps == 0 && is_linear_rate(rate)),
            "wav" => (Codec::Wav, kbps == 0 && is_linear_rate(rate)),
            "ulaw" => (Codec::Ulaw, kbps == 0 && rate == 8_000),
            "alaw" => (Codec::Alaw, kbps == 0 && rate == 8_000),
            _ => return None,
        };
        (known && parts.next().is_none()).then_some(Self { codec, rate, kbps })
    }

    /// The smallest plan that has this format, if not all have it.
    pub(in crate::elevenlabs) fn plan(self) -> Option<Plan> {
        match (self.codec, self.rate, self.kbps) {
            (Codec::Mp3, _, 192) => Some(Plan::Creator),
            (Codec::Pcm | Codec::Wav, 44_100, _) => Some(Plan::Pro),
            _ => None,
        }
    }

    /// Only that of MP3 was seen.
    pub(in crate::elevenlabs) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self.codec {
            Codec::Mp3 => "audio/mpeg",
            Codec::Pcm => "audio/pcm",
            Codec::Wav => "audio/wav",
            Codec::Opus => "audio/ogg",
            Codec::Ulaw => "audio/basic",
            Codec::Alaw => "audio/x-alaw-basic",
        })
    }
}

fn is_linear_rate(rate: u32) -> bool {
    [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000].contains(&rate)
}

/// Only digits: `parse` alone would take a sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_formats_of_the_api_and_no_other() {
        let mut known = vec!["mp3_22050_32", "mp3_24000_48", "ulaw_8000", "alaw_8000"];
        known.extend(["mp3_44100_32", "mp3_44100_64", "mp3_44100_96"]);
        known.extend(["mp3_44100_128", "mp3_44100_192", "opus_48000_32"]);
        known.extend(["opus_48000_192", "pcm_8000", "pcm_48000", "wav_22050"]);
        for name in known {
            assert!(Format::parse(name).is_some(), "{name}");
        }
        let mut unknown = vec!["", "mp3", "mp3_44100", "mp3_44100_129", "mp3_+44100_128"];
        unknown.extend(["pcm_11025", "pcm_16000_1", "ulaw_16000", "mp3_44100_128_1"]);
        unknown.extend(["MP3_44100_128", "flac_44100", "opus_48000"]);
        for name in unknown {
            assert_eq!(Format::parse(name), None, "{name}");
        }
        assert_eq!(Format::parse("mp3_44100_128"), Some(Format::DEFAULT));
    }

    #[test]
    fn the_best_ones_are_for_larger_plans() {
        let plan = |name| Format::parse(name).unwrap().plan();
        assert_eq!(plan("mp3_44100_128"), None);
        assert_eq!(plan("mp3_44100_192"), Some(Plan::Creator));
        assert_eq!(plan("wav_44100"), Some(Plan::Pro));
        assert_eq!(plan("pcm_48000"), None);
    }
}
