//! A script: its text and segments; and how it is voiced.
//!
//! Segments are taken in order, at most a batch of them at a time: when the oldest one of the batch is
//! done, the next one is taken in, without waiting for the others, so that the batches make no gaps. What
//! is held of a script is its text, 24 bytes and what the zip's directory takes (about half a kilobyte)
//! for each segment, and the audio of two batches: the one that is being voiced, and one that waits for
//! the disk.

use std::{fmt, io, num::NonZeroUsize, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, future::try_join, stream};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::{
    archive::{Archive, Finished},
    progress::{Progress, Voicing},
    speech::{self, Speech},
    split::{Kind, Segment, split},
};

/// The most segments that a script may have. A text of the largest size has as many if they are of 64
/// bytes on average, marks and white space included.
pub const MAX_SEGMENTS: usize = 1_000_000;

/// A text and its segments.
#[derive(Debug)]
pub struct Script {
    text: String,
    segments: Vec<Segment>,
    dialogue: usize,
    characters: usize,
}

/// Why something is no script.
#[derive(Debug, PartialEq, Eq)]
pub enum NoScript {
    /// It is no JSON.
    NotJson(String),
    /// It is JSON, but not an object with a text.
    NoText(String),
    /// The text has no letter and no digit.
    NothingToSay,
    /// There are more than [`MAX_SEGMENTS`].
    TooManySegments,
}

/// Why a script could not be voiced.
#[derive(Debug)]
pub enum Failure {
    /// A provider has failed, and would not do better if asked again.
    Speech {
        /// Which segment it was, counted from 1.
        number: usize,
        /// Of how many.
        total: usize,
        /// Who speaks it.
        kind: Kind,
        /// What went wrong.
        cause: speech::Error,
    },
    /// The zip could not be written.
    Archive(io::Error),
}

#[derive(Deserialize)]
struct Body {
    text: String,
}

impl Script {
    /// Splits a text into segments of at most so many characters.
    ///
    /// Takes a while for a long one: no work for a thread that serves others.
    ///
    /// # Errors
    ///
    /// If nothing in it can be spoken, or too much.
    pub fn new(text: String, max_chars: NonZeroUsize) -> Result<Self, NoScript> {
        let segments: Vec<_> = split(&text, max_chars).take(MAX_SEGMENTS + 1).collect();
        match segments.len() {
            0 => return Err(NoScript::NothingToSay),
            n if n > MAX_SEGMENTS => return Err(NoScript::TooManySegments),
            _ => {}
        }
        let is_dialogue = |segment: &&Segment| segment.kind == Kind::Dialogue;
        let chars = |segment: &Segment| text[segment.range.clone()].chars().count();
        Ok(Self {
            dialogue: segments.iter().filter(is_dialogue).count(),
            characters: segments.iter().map(chars).sum(),
            segments,
            text,
        })
    }

    /// Reads `{"text": ...}`. As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and if it is something else.
    pub fn read(json: &[u8], max_chars: NonZeroUsize) -> Result<Self, NoScript> {
        let body: Body = serde_json::from_slice(json).map_err(|error| {
            if error.is_data() {
                NoScript::NoText(error.to_string())
            } else {
                NoScript::NotJson(error.to_string())
            }
        })?;
        Self::new(body.text, max_chars)
    }

    /// In the order of the text; one at least.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// How many segments are dialogue.
    pub fn dialogue(&self) -> usize {
        self.dialogue
    }

    /// How many characters are spoken.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// The text of a segment.
    pub fn spoken(&self, segment: &Segment) -> &str {
        &self.text[segment.range.clone()]
    }

    /// The name of a segment's file: its number, with as many digits as the last one and three at least,
    /// so that names sort as segments do.
    pub fn file_name(&self, index: usize) -> String {
        let digits = self.segments.len().to_string().len().max(3);
        let kind = self.segments[index].kind.name();
        format!("{:0digits$}_{kind}.mp3", index + 1)
    }

    /// Voices all segments, at most a batch of them at a time.
    ///
    /// The first failure ends it. Dropping the future cancels what is on its way.
    ///
    /// # Errors
    ///
    /// If a segment cannot be voiced, or the zip not be written.
    pub async fn voice(
        self: Arc<Self>,
        speech: &Speech,
        progress: &Arc<Progress>,
        batch: NonZeroUsize,
    ) -> Result<Finished, Failure> {
        let total = self.segments.len();
        let mut archive = Archive::create(Arc::clone(&self)).await?;
        let segments = (0..total).map(|index| {
            let script = Arc::clone(&self);
            let progress = Arc::clone(progress);
            script.voice_one(index, speech.clone(), progress)
        });
        // Voicing does not stand still while the disk is busy; a disk that is too slow holds it up in
        // the end.
        let (voiced, mut to_write) = mpsc::channel(batch.get());
        let voicing = async move {
            let mut audio = pin!(stream::iter(segments).buffered(batch.get()));
            while let Some(audio) = audio.next().await {
                if voiced.send(audio?).await.is_err() {
                    // Writing has failed, and says so itself.
                    break;
                }
            }
            Ok(())
        };
        let writing = async move {
            while let Some(audio) = to_write.recv().await {
                archive.add(audio).await?;
            }
            Ok::<_, Failure>(archive)
        };
        let (archive, ()) = try_join(writing, voicing).await?;
        Ok(archive.finish().await?)
    }

    async fn voice_one(
        self: Arc<Self>,
        index: usize,
        speech: Speech,
        progress: Arc<Progress>,
    ) -> Result<Bytes, Failure> {
        let segment = &self.segments[index];
        let voicing = Voicing {
            progress: Arc::clone(&progress),
            number: index + 1,
            kind: segment.kind,
        };
        match speech.voice(self.spoken(segment), voicing).await {
            Ok(audio) => {
                progress.completed_one();
                Ok(audio)
            }
            Err(cause) => Err(Failure::Speech {
                number: index + 1,
                total: self.segments.len(),
                kind: segment.kind,
                cause,
            }),
        }
    }
}

impl fmt::Display for NoScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => write!(f, "the body is no JSON: {error}"),
            Self::NoText(error) => {
                write!(f, r#"the body has to be {{"text": "..."}}: {error}"#)
            }
            Self::NothingToSay => f.write_str("the text has no letter and no digit in it"),
            Self::TooManySegments => write!(
                f,
                "the text has more than {MAX_SEGMENTS} segments: send it in parts"
            ),
        }
    }
}

impl std::error::Error for NoScript {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speech {
                number,
                total,
                kind,
                cause,
            } => {
                let kind = kind.name();
                write!(
                    f,
                    "segment {number} of {total} ({kind}) could not be voiced: {cause}"
                )
            }
            Self::Archive(error) => write!(f, "the zip could not be written: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Speech { cause, .. } => Some(cause),
            Self::Archive(error) => Some(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}
