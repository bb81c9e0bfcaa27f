//! A smarthost that accepts everything and keeps nothing: faster than Postfix's `smtp-sink`, so that it is
//! not the sink that is measured. It runs in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves at `port` until the process is killed.
pub fn run(port: u16) {
    super::smtp::runtime().block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket can be had");
        socket.set_reuseaddr(true).expect("it is ours");
        socket.bind(address).expect("the port is free");
        let listener: TcpListener = socket.listen(1024).expect("it can listen");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        }
    });
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let _ = stream.set_nodelay(true);
    stream.write_all(b"220 sink.test\r\n").await.ok()?;
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        let line = line(&mut stream, &mut buffer).await?;
        let verb = line.get(..4)?.to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n",
            b"DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                text(&mut stream, &mut buffer).await?;
                b"250 accepted\r\n"
            }
            b"QUIT" => {
                let _ = stream.write_all(b"221 bye\r\n").await;
                return None;
            }
            _ => b"250 fine\r\n",
        };
        stream.write_all(reply).await.ok()?;
    }
}

/// The next line, without its end.
async fn line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = memmem::find(buffer, b"\r\n") {
            let line = buffer[..end].to_vec();
            buffer.drain(..end + 2);
            return Some(line);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads to the final dot, and forgets.
async fn text(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    const END: &[u8] = b"\r\n.\r\n";
    loop {
        if let Some(end) = memmem::find(buffer, END) {
            buffer.drain(..end + END.len());
            return Some(());
        }
        // The end may have begun.
        let kept = buffer.len().min(END.len() - 1);
        buffer.drain(..buffer.len() - kept);
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
