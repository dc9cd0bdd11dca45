//! The zip file: the segments in order, and a manifest.
//!
//! It is written to a temporary file without a name, which ends with its last handle: a script may be
//! hours of audio. All that touches the disk runs on tokio's threads for that, one short task at a time.

use std::{
    fs::File,
    io::{self, Seek, Write},
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::task::spawn_blocking;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{script::Script, split::Kind};

/// The name of the manifest in the zip.
pub const MANIFEST: &str = "manifest.json";

/// A zip file in the making.
#[derive(Debug)]
pub struct Archive {
    /// `None` only while a task has it, and for good when one has failed.
    writer: Option<ZipWriter<File>>,
    script: Arc<Script>,
    /// The sizes of what has been added.
    sizes: Vec<u64>,
}

/// A complete zip file, to be read from its beginning.
#[derive(Debug)]
pub struct Finished {
    /// The file, without a name.
    pub file: File,
    /// How long it is, in bytes.
    pub size: u64,
}

#[derive(Serialize)]
struct Manifest<'a> {
    segments: usize,
    dialogue: usize,
    narration: usize,
    characters: usize,
    files: Files<'a>,
}

/// Written as a list, one by one: there may be a million.
struct Files<'a> {
    script: &'a Script,
    sizes: &'a [u64],
}

#[derive(Serialize)]
struct Entry<'a> {
    file: String,
    kind: Kind,
    text: &'a str,
    bytes: u64,
}

impl Archive {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// If there is no temporary file to be had.
    pub async fn create(script: Arc<Script>) -> io::Result<Self> {
        let file = blocking(tempfile::tempfile).await?;
        Ok(Self {
            writer: Some(ZipWriter::new(file)),
            script,
            sizes: Vec::new(),
        })
    }

    /// Adds the audio of the next segment.
    ///
    /// # Errors
    ///
    /// If the disk is full, say. The archive is of no use after that.
    ///
    /// # Panics
    ///
    /// If all segments are there already.
    pub async fn add(&mut self, audio: Bytes) -> io::Result<()> {
        let name = self.script.file_name(self.sizes.len());
        self.sizes.push(audio.len() as u64);
        self.write(move |writer| {
            writer.start_file(name, options())?;
            writer.write_all(&audio)
        })
        .await
    }

    /// Adds the manifest, and closes the file.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn finish(mut self) -> io::Result<Finished> {
        let script = Arc::clone(&self.script);
        let sizes = std::mem::take(&mut self.sizes);
        self.write(move |writer| {
            writer.start_file(MANIFEST, options())?;
            let manifest = Manifest {
                segments: script.segments().len(),
                dialogue: script.dialogue(),
                narration: script.segments().len() - script.dialogue(),
                characters: script.characters(),
                files: Files {
                    script: &script,
                    sizes: &sizes,
                },
            };
            let mut buffered = io::BufWriter::new(writer);
            serde_json::to_writer_pretty(&mut buffered, &manifest)?;
            buffered.write_all(b"\n")?;
            buffered.flush()
        })
        .await?;
        let writer = self.writer.take().ok_or_else(broken)?;
        blocking(move || {
            let mut file = writer.finish()?;
            let size = file.stream_position()?;
            file.rewind()?;
            Ok(Finished { file, size })
        })
        .await
    }

    async fn write(
        &mut self,
        write: impl FnOnce(&mut ZipWriter<File>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let mut writer = self.writer.take().ok_or_else(broken)?;
        let writer = blocking(move || {
            write(&mut writer)?;
            Ok(writer)
        });
        self.writer = Some(writer.await?);
        Ok(())
    }
}

/// Audio is compressed already.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn broken() -> io::Error {
    io::Error::other("the archive has failed before")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Serialize for Files<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let segments = self.script.segments().iter().zip(self.sizes).enumerate();
        serializer.collect_seq(segments.map(|(index, (segment, bytes))| Entry {
            file: self.script.file_name(index),
            kind: segment.kind,
            text: self.script.spoken(segment),
            bytes: *bytes,
        }))
    }
}
