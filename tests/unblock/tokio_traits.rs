//! The same with the traits of tokio, called as its extension traits do.

use crate::{pattern, pool};
use futures::future::poll_fn;
use offramp::Unblock;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

async fn read<R: AsyncRead + Unpin>(reader: &mut R, buf: &mut [u8]) -> io::Result<usize> {
    let mut buf = ReadBuf::new(buf);
    poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, &mut buf)).await?;
    Ok(buf.filled().len())
}

async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, bytes)).await?;
        assert!(written > 0);
        bytes = &bytes[written..];
    }
    Ok(())
}

async fn seek<S: AsyncSeek + Unpin>(seeker: &mut S, to: SeekFrom) -> io::Result<u64> {
    // One that may be under way first.
    poll_fn(|cx| Pin::new(&mut *seeker).poll_complete(cx)).await?;
    Pin::new(&mut *seeker).start_seek(to)?;
    let second = Pin::new(&mut *seeker).start_seek(to);
    assert!(second.unwrap_err().to_string().contains("under way"));
    poll_fn(|cx| Pin::new(&mut *seeker).poll_complete(cx)).await
}

pub(crate) async fn files() {
    let offload = pool(2);
    let bytes = pattern(1_000_003);
    let mut file = Unblock::new(tempfile::tempfile().unwrap()).on(&offload);
    write_all(&mut file, &bytes).await.unwrap();
    poll_fn(|cx| Pin::new(&mut file).poll_flush(cx))
        .await
        .unwrap();
    assert_eq!(seek(&mut file, SeekFrom::Start(3)).await.unwrap(), 3);
    let (mut found, mut buf) = (Vec::new(), [0; 1_001]);
    loop {
        match read(&mut file, &mut buf).await.unwrap() {
            0 => break,
            read => found.extend_from_slice(&buf[..read]),
        }
    }
    assert!(found == bytes[3..]);
    // Shutting down flushes, and it can still be read.
    write_all(&mut file, b"more").await.unwrap();
    poll_fn(|cx| Pin::new(&mut file).poll_shutdown(cx))
        .await
        .unwrap();
    let back = SeekFrom::Current(-2);
    assert_eq!(seek(&mut file, back).await.unwrap(), bytes.len() as u64 + 2);
    assert_eq!(read(&mut file, &mut buf).await.unwrap(), 2);
    assert_eq!(&buf[..2], b"re");
    // An error ends the seek, too.
    seek(&mut file, SeekFrom::End(i64::MIN)).await.unwrap_err();
    assert_eq!(seek(&mut file, SeekFrom::Start(1)).await.unwrap(), 1);
}
