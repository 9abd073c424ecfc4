//! The double's sockets: accepts, reads requests one after the other, and sends what the script says.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    RecordedRequest, Shared,
    answer::{Answer, Content, Fault},
    reply::{self, Reply},
};

const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// Connections end with this future.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        shared.journal.connection();
        let connection = Connection { stream, unread: Vec::new(), shared: Arc::clone(&shared) };
        connections.spawn(connection.run());
    }
}

struct Connection {
    stream: TcpStream,
    /// Received, and not yet part of a request.
    unread: Vec<u8>,
    shared: Arc<Shared>,
}

enum Next {
    KeepAlive,
    Close,
}

impl Connection {
    async fn run(mut self) {
        let _ = self.stream.set_nodelay(true);
        while let Ok(Some(request)) = self.read_request().await {
            let answer = self.shared.script.next(&request);
            self.shared.journal.request(request.clone());
            match self.answer(&answer, &request).await {
                Ok(Next::KeepAlive) => {}
                Ok(Next::Close) => return,
                Err(_) => return self.shared.journal.abort(&request.target),
            }
        }
    }

    async fn answer(&mut self, answer: &Answer, request: &RecordedRequest) -> io::Result<Next> {
        if let Some(gate) = &answer.gate {
            self.unless_client_leaves(gate.pass()).await?;
        }
        self.pause(answer.latency).await?;
        self.stream.write_all(&reply::interim(answer)).await?;
        match &answer.content {
            Content::Raw(bytes) => {
                self.stream.write_all(bytes).await?;
                self.stream.shutdown().await?;
                return Ok(Next::Close);
            }
            Content::Silence => return self.until_client_leaves().await,
            Content::Bytes(_) | Content::Pattern { .. } => {}
        }
        let now = self.shared.clock.lock().unix_millis();
        let reply = Reply::new(answer, request, now);
        self.stream.write_all(&reply.head).await?;
        if reply.body.is_some() {
            self.pause(answer.first_byte_delay).await?;
            if let Next::Close = self.send_body(answer, &reply, &request.target).await? {
                return Ok(Next::Close);
            }
        }
        if !reply.close {
            return Ok(Next::KeepAlive);
        }
        self.stream.shutdown().await?;
        Ok(Next::Close)
    }

    /// Sends piece by piece; gates and the fault lie between two pieces.
    async fn send_body(&mut self, answer: &Answer, reply: &Reply, target: &str) -> io::Result<Next> {
        let Some(range) = reply.body.clone() else { return Ok(Next::KeepAlive) };
        let fault = answer.fault.filter(|(at, _)| (range.start..=range.end).contains(at));
        let mut gates: VecDeque<_> = answer.body_gates.clone().into();
        gates.retain(|(at, _)| (range.start..=range.end).contains(at));
        let mut at = range.start;
        let mut piece = Vec::new();
        loop {
            while let Some((gate_at, gate)) = gates.front().cloned()
                && gate_at == at
            {
                gates.pop_front();
                self.unless_client_leaves(gate.pass()).await?;
            }
            if let Some((fault_at, fault)) = fault
                && fault_at == at
            {
                return self.fail(fault).await;
            }
            if at == range.end {
                break;
            }
            let stops = [Some(range.end), fault.map(|(at, _)| at), gates.front().map(|(at, _)| *at)];
            let stop = stops.into_iter().flatten().min().unwrap_or(range.end);
            let end = stop.min(at + answer.chunk_bytes as u64);
            answer.content.copy(at..end, &mut piece);
            self.send_piece(&piece, reply.chunked).await?;
            self.shared.journal.sent(target, end - at);
            at = end;
            self.pause(answer.chunk_delay).await?;
        }
        if reply.chunked {
            self.stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(Next::KeepAlive)
    }

    async fn send_piece(&mut self, piece: &[u8], chunked: bool) -> io::Result<()> {
        if !chunked {
            return self.stream.write_all(piece).await;
        }
        self.stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        self.stream.write_all(piece).await?;
        self.stream.write_all(b"\r\n").await
    }

    async fn fail(&mut self, fault: Fault) -> io::Result<Next> {
        match fault {
            Fault::Cut => self.stream.shutdown().await?,
            Fault::Reset => self.stream.set_zero_linger()?,
            Fault::Stall => return self.until_client_leaves().await,
        }
        Ok(Next::Close)
    }

    async fn pause(&self, pause: Duration) -> io::Result<()> {
        if pause.is_zero() { Ok(()) } else { self.unless_client_leaves(sleep(pause)).await }
    }

    async fn unless_client_leaves(&self, wait: impl Future<Output = ()>) -> io::Result<()> {
        let left = async {
            // Something to read is a pipelined request, behind which nothing can be seen.
            if let Ok(1..) = self.stream.peek(&mut [0]).await {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = wait => Ok(()),
            () = left => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// What else the client sends is thrown away.
    async fn until_client_leaves(&mut self) -> io::Result<Next> {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).await? > 0 {}
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// `None` at the connection's end.
    async fn read_request(&mut self) -> io::Result<Option<RecordedRequest>> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.unread.len() > MAX_HEAD_BYTES || !self.receive().await? {
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let Some((method, target, headers)) = parse_head(&head) else {
            self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(None);
        };
        let body = self.read_body(&headers).await?;
        Ok(Some(RecordedRequest { method, target, headers, body }))
    }

    async fn read_body(&mut self, headers: &HeaderMap) -> io::Result<Vec<u8>> {
        if headers.contains_key("transfer-encoding") {
            let mut body = Vec::new();
            loop {
                let line = self.read_line().await?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                    .map_err(|_| io::ErrorKind::InvalidData)?;
                body.extend(self.read_exactly(size).await?);
                self.read_line().await?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        self.read_exactly(length.unwrap_or(0)).await
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.receive_some().await?;
        }
    }

    async fn read_exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < size {
            self.receive_some().await?;
        }
        Ok(self.unread.drain(..size).collect())
    }

    async fn receive_some(&mut self) -> io::Result<()> {
        if self.receive().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn receive(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }
}

fn parse_head(head: &[u8]) -> Option<(String, String, HeaderMap)> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = std::str::from_utf8(lines.next()?).ok()?;
    let mut words = request_line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some((method, target, headers))
}
