//! A way to the server from an address of its own.
//!
//! The server counts failures by the caller's address. All of 127.0.0.0/8 is this machine: each client of a test takes
//! another address of it, as clients in the world do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Opens a way to `server`: whoever connects to the address given comes to the server from a new address.
pub(crate) fn open(server: SocketAddr) -> Result<SocketAddr> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let [_, second, third, fourth] = (LAST.fetch_add(1, Ordering::Relaxed) + 2).to_be_bytes();
    let source = SocketAddr::from((Ipv4Addr::new(127, second, third, fourth), 0));
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let (listener, address) = (TcpListener::from_std(listener.try_clone()?)?, listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            tokio::spawn(pass(caller, source, server));
        }
    });
    Ok(address)
}

/// Passes bytes both ways until one side ends: to the other that looks like what it is, an end.
async fn pass(mut caller: TcpStream, source: SocketAddr, server: SocketAddr) {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
        socket.connect(server).await
    };
    if let Ok(mut server) = connect.await {
        drop(copy_bidirectional(&mut caller, &mut server).await);
    }
}
