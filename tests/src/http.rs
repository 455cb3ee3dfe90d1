//! A small HTTP/1.1 client on blocking sockets: over TLS to a peer's API, over a Unix socket to an engine or a daemon.
//! It sends one request at a time, never retries, and every request has a deadline for the whole of it, since what is
//! measured here is whether an answer comes in time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// One connection to a server, kept open between requests as long as the server agrees.
pub struct Connection {
    reader: BufReader<Wire>,
    host: String,
    reusable: bool,
}

/// What is asked.
pub struct Request<'a> {
    /// `GET`, `POST` ..
    pub method: &'a str,
    /// Path and query, already encoded.
    pub path: &'a str,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    /// Speaks over a Unix socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let socket = Socket::Unix(UnixStream::connect(path)?);
        Ok(Self::over(Wire::Plain(Timed { socket, deadline: None }), "localhost"))
    }

    /// Speaks over plain TCP.
    pub fn plain(tcp: TcpStream, host: &str) -> Self {
        Self::over(Wire::Plain(Timed { socket: Socket::Tcp(tcp), deadline: None }), host)
    }

    /// Speaks TLS over `tcp`; the handshake happens with the first request and counts for its deadline.
    ///
    /// # Errors
    /// When `host` is no name or address.
    pub fn tls(tcp: TcpStream, host: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let client = ClientConnection::new(config, name).map_err(io::Error::other)?;
        tcp.set_nodelay(true)?;
        let timed = Timed { socket: Socket::Tcp(tcp), deadline: None };
        Ok(Self::over(Wire::Tls(Box::new(StreamOwned::new(client, timed))), host))
    }

    /// Our port of a TCP connection, 0 for a Unix socket.
    pub fn local_port(&self) -> u16 {
        let timed = match self.reader.get_ref() {
            Wire::Plain(timed) => timed,
            Wire::Tls(stream) => &stream.sock,
        };
        match &timed.socket {
            Socket::Tcp(tcp) => tcp.local_addr().map_or(0, |address| address.port()),
            Socket::Unix(_) => 0,
        }
    }

    /// Whether another request may be sent here.
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// `TimedOut` when `within` is over before the last byte came; what the socket says; `InvalidData` for an answer that
    /// is no HTTP. Afterwards the connection is not reusable.
    pub fn call(&mut self, request: &Request<'_>, within: Duration) -> io::Result<Response> {
        let (mut response, framing) = self.begin(request, within)?;
        response.body = match framing {
            Framing::Length(bytes) => {
                let mut body = vec![0; bytes];
                self.reader.read_exact(&mut body)?;
                body
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk()? {
                    body.extend_from_slice(&chunk);
                }
                body
            }
            Framing::UntilClosed => {
                let mut body = Vec::new();
                self.reader.read_to_end(&mut body)?;
                body
            }
        };
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.reusable = !closes && !matches!(framing, Framing::UntilClosed);
        Ok(response)
    }

    /// Sends `request` and returns the head of the answer at once; the body, which may never end, is read with
    /// [`Connection::more`]. The connection is of no use afterwards.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn open(&mut self, request: &Request<'_>, within: Duration) -> io::Result<Response> {
        let (response, framing) = self.begin(request, within)?;
        if !matches!(framing, Framing::Chunked) {
            let mut response = response;
            if let Framing::Length(bytes) = framing {
                response.body = vec![0; bytes];
                self.reader.read_exact(&mut response.body)?;
            }
            return Ok(response);
        }
        Ok(response)
    }

    /// The next piece of a streamed body, `None` at its end.
    ///
    /// # Errors
    /// `TimedOut` when none came `within`.
    pub fn more(&mut self, within: Duration) -> io::Result<Option<Vec<u8>>> {
        self.reader.get_mut().timed().deadline = Some(Instant::now() + within);
        self.chunk()
    }

    fn over(wire: Wire, host: &str) -> Self {
        Self { reader: BufReader::new(wire), host: host.to_owned(), reusable: true }
    }

    fn begin(&mut self, request: &Request<'_>, within: Duration) -> io::Result<(Response, Framing)> {
        self.reusable = false;
        self.reader.get_mut().timed().deadline = Some(Instant::now() + within);
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.path, self.host);
        for (name, value) in request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !request.body.is_empty() || matches!(request.method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body);
        self.reader.get_mut().write_all(&bytes)?;
        self.reader.get_mut().flush()?;
        loop {
            let response = self.head()?;
            // 1xx are announcements of the answer, which follows.
            if response.status >= 200 {
                let framing = Framing::of(&response, request.method)?;
                return Ok((response, framing));
            }
        }
    }

    fn head(&mut self) -> io::Result<Response> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid(&format!("no status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let bytes = usize::from_str_radix(digits, 16).map_err(|_| invalid(&format!("no chunk size: {size:?}")))?;
        let mut chunk = vec![0; bytes];
        self.reader.read_exact(&mut chunk)?;
        self.line()?;
        Ok((bytes > 0).then_some(chunk))
    }
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

impl Framing {
    fn of(response: &Response, method: &str) -> io::Result<Self> {
        if method == "HEAD" || response.status == 204 || response.status == 304 {
            return Ok(Self::Length(0));
        }
        if response.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Ok(Self::Chunked);
        }
        match response.header("content-length") {
            Some(text) => text.parse().map(Self::Length).map_err(|_| invalid("content-length is no number")),
            None => Ok(Self::UntilClosed),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose reads and writes end at a deadline, so that a request's time-out covers the whole of it.
struct Timed {
    socket: Socket,
    deadline: Option<Instant>,
}

impl Timed {
    fn arm(&self) -> io::Result<()> {
        let left = match self.deadline {
            None => None,
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Some(left),
                _ => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
            },
        };
        match &self.socket {
            Socket::Tcp(tcp) => tcp.set_read_timeout(left).and_then(|()| tcp.set_write_timeout(left)),
            Socket::Unix(unix) => unix.set_read_timeout(left).and_then(|()| unix.set_write_timeout(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        let read = match &mut self.socket {
            Socket::Tcp(tcp) => tcp.read(buffer),
            Socket::Unix(unix) => unix.read(buffer),
        };
        read.map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arm()?;
        let written = match &mut self.socket {
            Socket::Tcp(tcp) => tcp.write(bytes),
            Socket::Unix(unix) => unix.write(bytes),
        };
        written.map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel reports a socket's time-out as `WouldBlock`, which says little in a message.
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    }
    error
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

enum Wire {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Wire {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
