//! Published ports of the `process` runtime: connections to a port of the host are passed on to the pod's address. In
//! the shim, so that they outlive the daemon.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use skein_core::runtime::Port;

/// Connections of one container at once; one more is closed at once.
const CONNECTIONS_LIMIT: usize = 256;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A port of the host, and where it leads.
#[derive(Debug)]
pub(crate) struct Published {
    listener: TcpListener,
    target: SocketAddr,
}

/// Takes the ports of the host. Without an address of its own the process takes them itself.
pub(crate) fn bind(ports: &[Port], ip: Option<Ipv4Addr>) -> Result<Vec<Published>, String> {
    let Some(ip) = ip else { return Ok(Vec::new()) };
    let mut published = Vec::new();
    for port in ports {
        let Some(host_port) = port.host_port else { continue };
        if port.protocol != "TCP" {
            return Err(format!("hostPort {host_port}: the process runtime publishes TCP ports only"));
        }
        let host_ip = match port.host_ip.as_deref() {
            None | Some("") => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some(text) => text.parse().map_err(|_| format!("hostIP \"{text}\" is no address"))?,
        };
        let listener = TcpListener::bind((host_ip, host_port)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {host_port} of this host is taken already"),
            _ => format!("port {host_port} of this host cannot be listened on: {error}"),
        })?;
        published.push(Published { listener, target: SocketAddr::from((ip, port.container_port)) });
    }
    Ok(published)
}

/// Serves the ports until the process ends.
pub(crate) fn serve(ports: Vec<Published>) {
    let open = Arc::new(AtomicUsize::new(0));
    for port in ports {
        let open = Arc::clone(&open);
        thread::spawn(move || {
            for client in port.listener.incoming().flatten() {
                if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_LIMIT {
                    open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let open = Arc::clone(&open);
                thread::spawn(move || {
                    // Both ends see a failure as the end of the connection.
                    let _ = pass_on(&client, port.target);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
}

fn pass_on(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&target, CONNECT_LIMIT)?;
    let (mut client_in, mut server_out) = (client.try_clone()?, server.try_clone()?);
    let upward = thread::spawn(move || {
        let _ = io::copy(&mut client_in, &mut server_out);
        let _ = server_out.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut &server, &mut &*client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = upward.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read as _, Write as _};

    fn port(host_port: u16, container_port: u16) -> Port {
        let host_ip = Some("127.0.0.1".to_owned());
        Port { container_port, host_port: Some(host_port), host_ip, protocol: "TCP".to_owned() }
    }

    #[test]
    fn a_connection_reaches_the_pod_and_ends_with_it() {
        let pod = TcpListener::bind("127.0.0.1:0").unwrap();
        // Port 0 is one that the system picks, so that nobody takes it between a look and the bind.
        let published = bind(&[port(0, pod.local_addr().unwrap().port())], Some(Ipv4Addr::LOCALHOST)).unwrap();
        let address = published[0].listener.local_addr().unwrap();
        serve(published);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut server, _) = pod.accept().unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let error = bind(&[port(taken.port(), 80)], Some(Ipv4Addr::LOCALHOST)).unwrap_err();
        assert!(error.contains(&taken.port().to_string()) && error.contains("taken"), "{error}");
        drop(holder);
    }

    #[test]
    fn with_the_network_of_the_host_nothing_is_passed_on() {
        assert!(bind(&[port(1, 80)], None).unwrap().is_empty());
    }
}
