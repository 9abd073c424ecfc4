//! What is written on a connection, in which order.

use std::future::{pending, poll_fn};

use http::{HeaderMap, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::delivery::Interims;

async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = Stream::Plain(listener.accept().await.unwrap().0);
    let address = Client { address: [127, 0, 0, 1].into(), secure: false };
    (Connection::new(stream, address, Least::default(), Held::uncounted()), client)
}

/// As much as the socket takes.
async fn stuff(connection: &mut Connection) -> usize {
    let mut written = 0;
    while let Poll::Ready(count) =
        poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll_write(context, &[b'.'; 65536]))).await
    {
        written += count.unwrap();
    }
    written
}

#[tokio::test]
async fn what_is_begun_comes_first() {
    let (mut connection, mut client) = pair().await;
    let before = connection.before.clone();
    let (interims, coming) = Interims::channel();
    interims.offer(StatusCode::PROCESSING, &HeaderMap::new());
    let mut waiting = Box::pin(before.wait(coming, pending::<()>()));
    let mut written = stuff(&mut connection).await;
    assert!(futures_util::poll!(&mut waiting).is_pending());
    // The rest of the answer before, then room for what waits, then the answer that is due.
    let mut received = vec![0; written];
    client.read_exact(&mut received).await.unwrap();
    connection.write_all(b"rest|").await.unwrap();
    connection.flush().await.unwrap();
    connection.write_all(b"|due").await.unwrap();
    drop(waiting);
    drop(connection);
    written = received.len();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received[written..], *b"rest|HTTP/1.1 102 Processing\r\n\r\n|due");
}

/// A body of more than the socket takes at a time, behind a head that is written in two parts.
#[tokio::test]
async fn a_body_goes_out_behind_what_actix_has() {
    let (mut connection, mut client) = pair().await;
    let behind = connection.behind.clone();
    let body: Vec<u8> = (0..8 << 20).map(|at: u32| (at >> 10) as u8).collect();
    let stuffed = stuff(&mut connection).await;
    behind.put(body.clone().into());
    let mut writing = Box::pin(async {
        connection.write_all(b"head|").await.unwrap();
        connection.flush().await.unwrap();
        connection.write_all(b"|next").await.unwrap();
        connection.flush().await.unwrap();
    });
    assert!(futures_util::poll!(&mut writing).is_pending());
    assert_eq!(behind.left(), body.len());
    let mut received = Vec::new();
    let reading = async {
        let expected = stuffed + body.len() + "head||next".len();
        while received.len() < expected {
            assert_ne!(client.read_buf(&mut received).await.unwrap(), 0);
        }
    };
    tokio::join!(writing, reading);
    assert_eq!(behind.left(), 0);
    let (head, rest) = received[stuffed..].split_at(5);
    assert!(head == b"head|" && rest.strip_suffix(b"|next") == Some(&body[..]));
}

#[tokio::test]
async fn what_is_taken_back_is_not_written() {
    let (mut connection, mut client) = pair().await;
    connection.behind.put(b"body"[..].into());
    assert_eq!(connection.behind.take_back(), 4);
    connection.write_all(b"head").await.unwrap();
    connection.flush().await.unwrap();
    drop(connection);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"head");
}

#[tokio::test]
async fn what_comes_late_is_dropped() {
    let (mut connection, mut client) = pair().await;
    let before = connection.before.clone();
    let (interims, coming) = Interims::channel();
    interims.offer(StatusCode::PROCESSING, &HeaderMap::new());
    let mut waiting = Box::pin(before.wait(coming, pending::<()>()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    connection.write_all(b"due").await.unwrap();
    connection.flush().await.unwrap();
    drop(connection);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"due");
}
