//! A port that stays with its server while that one is stopped.
//!
//! The kernel hands a port that nobody holds to the next who asks for a free one: in a machine full of tests, to another
//! test's server or connection. A socket that is bound and does not listen keeps it: a server that binds the port by its
//! number shares it (`SO_REUSEADDR`, socket(7)), and connections are refused as where nobody is.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port of the loopback interface, until this is dropped.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl Port {
    /// One that is free.
    ///
    /// # Errors
    /// Where none is.
    pub fn reserve() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = getsockname(&socket)?.try_into()?;
        Ok(Self { address, _socket: socket })
    }

    /// Where a server is to listen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// More than there are, so that whoever takes free ones has had every one.
    const TRIES: usize = 40_000;

    #[test]
    fn nobody_is_given_a_port_that_is_reserved_and_its_server_may_come_and_go() {
        let port = Port::reserve().unwrap();
        TcpStream::connect(port.address()).unwrap_err();
        for _ in 0..3 {
            let server = TcpListener::bind(port.address()).unwrap();
            drop(TcpStream::connect(port.address()).unwrap());
            drop(server);
        }
        for _ in 0..TRIES {
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            assert_ne!(other.local_addr().unwrap().port(), port.number());
        }
    }
}
