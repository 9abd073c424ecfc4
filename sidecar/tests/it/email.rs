//! Alerts as e-mail, to a mail server of our own.

use std::sync::Arc;

use millrace_kit::{clock::Clock, tasks::Tasks};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    alerts::RULES,
    harness::{START, start},
    http_double::Double,
};

#[derive(Default)]
struct Post {
    mails: Vec<String>,
    said: Vec<String>,
    /// What `RCPT` is answered with.
    refuses: bool,
}

/// Speaks just enough SMTP (RFC 5321) to take mail.
async fn mail_server(tasks: &Tasks) -> (u16, Arc<Mutex<Post>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let post = Arc::new(Mutex::new(Post::default()));
    let (shared, spawner) = (post.clone(), tasks.clone());
    tasks.spawn_until_stop("mail server", async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let post = shared.clone();
            spawner.spawn("mail", async move {
                let _ = take(connection, &post).await;
            });
        }
    });
    (port, post)
}

async fn take(connection: TcpStream, post: &Mutex<Post>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    connection.get_mut().write_all(b"220 double\r\n").await?;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let refuses = {
            let mut post = post.lock();
            post.said.push(line.trim_end().to_owned());
            post.refuses
        };
        let answer: &[u8] = match line.split([' ', ':', '\r']).next().unwrap_or_default() {
            "EHLO" => b"250-double\r\n250 AUTH PLAIN\r\n",
            "AUTH" => b"235 welcome\r\n",
            "RCPT" if refuses => b"450 later\r\n",
            "DATA" => {
                connection.get_mut().write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    connection.read_line(&mut mail).await?;
                }
                post.lock().mails.push(mail);
                b"250 taken\r\n"
            }
            "QUIT" => {
                connection.get_mut().write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        connection.get_mut().write_all(answer).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firing_and_resolved_arrive_in_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let (port, post) = mail_server(&tasks).await;
    let target = Double::start("queue_depth{queue=\"media\"} 12\n").await;
    let (rules, password) = (folder.path().join("rules.yml"), folder.path().join("password"));
    std::fs::write(&rules, RULES).unwrap();
    std::fs::write(&password, "hush\n").unwrap();
    let config = format!(
        "[[targets]]\nurl = '{}'\n[rules]\nfiles = ['{}']\n[scrape]\nitself = false\n[[emails]]\nserver = 'smtp://127.0.0.1:{port}'\n\
         username = 'millrace'\npassword_file = '{}'\nfrom = 'Millrace <millrace@cdn.example>'\nto = ['ops@cdn.example', 'Night <night@cdn.example>']\n\
         group_wait_secs = 0\ngroup_interval_secs = 0\n",
        target.url(),
        rules.display(),
        password.display()
    );
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    post.lock().refuses = true;
    for _ in 0..4 {
        rig.step(15).await;
    }
    assert!(post.lock().mails.is_empty());
    let status = rig.json("/status").await;
    assert!(status["receivers"][0]["last_error"].as_str().unwrap().contains("450"), "{status}");
    post.lock().refuses = false;
    rig.step(15).await;
    target.expose("queue_depth{queue=\"media\"} 1\n");
    rig.step(15).await;
    let (mails, said) = {
        let post = post.lock();
        (post.mails.clone(), post.said.join("\n"))
    };
    assert_eq!(mails.len(), 2, "{mails:?}");
    for part in [
        "From: Millrace <millrace@cdn.example>\r\n",
        "To: ops@cdn.example, Night <night@cdn.example>\r\n",
        "Subject: [FIRING:1] QueueLong (127.0.0.1:",
        " millrace media page)\r\n",
        "summary: 12 wait in media",
    ] {
        assert!(mails[0].contains(part), "{part}\n{}", mails[0]);
    }
    assert!(mails[1].contains("Subject: [RESOLVED] QueueLong"), "{}", mails[1]);
    let thread = |mail: &str| mail.lines().find(|line| line.starts_with("References:")).unwrap().to_owned();
    assert_eq!(thread(&mails[0]), thread(&mails[1]));
    // RFC 4616: NUL, user, NUL, password.
    assert!(said.contains("AUTH PLAIN AG1pbGxyYWNlAGh1c2g="), "{said}");
    assert!(said.contains("RCPT TO:<night@cdn.example>"), "{said}");
    rig.stop().await;
}
