//! The file around a snapshot: what anyone may read, and the encrypted content in frames.

use coffer_crypto::{
    hash::{DIGEST_BYTES, Sha256},
    recipients::{Encrypting, Recipient},
};
use tokio::sync::mpsc;

use crate::snapshot::{ABOUT_BYTES_MAX, MAGIC, SaveError};

/// Bytes in a frame, and so in a message of the stream, length included at most four more.
pub const FRAME_BYTES_MAX: usize = 128 << 10;

/// Writes a snapshot's file into a channel: waits where its reader is slow.
pub(super) struct File {
    out: mpsc::Sender<Vec<u8>>,
    /// Gone at the end.
    encrypting: Option<Encrypting>,
    /// Encrypted and not framed yet: never much more than a frame.
    ready: Vec<u8>,
    /// Over the file.
    file: Sha256,
    /// Over what is said in the clear and the content.
    content: Sha256,
    pub(super) bytes: u64,
}

impl File {
    /// Begins a file: `about` is one line of text.
    pub(super) async fn begin(about: &str, recipients: &[Recipient], out: mpsc::Sender<Vec<u8>>) -> Result<Self, SaveError> {
        if about.len() > ABOUT_BYTES_MAX || about.contains('\n') {
            return Err(SaveError::Internal("what a snapshot says about itself"));
        }
        let encrypting = Encrypting::to(recipients).map_err(|_| SaveError::Recipients)?;
        let start = [MAGIC, about.as_bytes(), b"\n"].concat();
        let mut content = Sha256::new();
        content.update(&start);
        let mut file = Self { out, encrypting: Some(encrypting), ready: Vec::new(), file: Sha256::new(), content, bytes: 0 };
        file.send(start).await?;
        Ok(file)
    }

    /// Adds to the content.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.content.update(bytes);
        self.write_unsigned(bytes).await
    }

    /// Adds to the content what is not part of its digest.
    pub(super) async fn write_unsigned(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        // Piece by piece, so that one entry makes no more than a frame wait here.
        for piece in bytes.chunks(FRAME_BYTES_MAX) {
            let encrypting = self.encrypting.as_mut().ok_or(SaveError::Internal("a file that has ended"))?;
            encrypting.write(piece).map_err(|_| SaveError::Recipients)?;
            self.ready.append(&mut encrypting.take());
            while self.ready.len() >= FRAME_BYTES_MAX {
                let rest = self.ready.split_off(FRAME_BYTES_MAX);
                let frame = std::mem::replace(&mut self.ready, rest);
                self.frame(frame).await?;
            }
        }
        Ok(())
    }

    /// The digest of the content so far.
    pub(super) fn digest(&self) -> [u8; DIGEST_BYTES] {
        self.content.clone().finish()
    }

    /// Ends the file: the last frame, one of no bytes, the number of entries, and the SHA-256 of all of it.
    pub(super) async fn finish(mut self, entries: u64) -> Result<u64, SaveError> {
        let encrypting = self.encrypting.take().ok_or(SaveError::Internal("a file ends once"))?;
        self.ready.extend(encrypting.finish().map_err(|_| SaveError::Recipients)?);
        while !self.ready.is_empty() {
            let rest = self.ready.split_off(self.ready.len().min(FRAME_BYTES_MAX));
            let frame = std::mem::replace(&mut self.ready, rest);
            self.frame(frame).await?;
        }
        self.send([0_u32.to_be_bytes().as_slice(), &entries.to_be_bytes()].concat()).await?;
        let digest = self.file.clone().finish();
        self.send(digest.to_vec()).await?;
        Ok(self.bytes)
    }

    async fn frame(&mut self, bytes: Vec<u8>) -> Result<(), SaveError> {
        let length = u32::try_from(bytes.len()).map_err(|_| SaveError::Internal("a frame's length"))?;
        self.send([length.to_be_bytes().as_slice(), &bytes].concat()).await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), SaveError> {
        self.file.update(&bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.out.send(bytes).await.map_err(|_| SaveError::Gone)
    }
}
