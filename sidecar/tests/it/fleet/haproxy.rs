//! A real HAProxy with an empty backend.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{free_port, until};

pub struct Haproxy {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Haproxy {
    pub async fn start(folder: &Path) -> Self {
        let port = free_port();
        let text = format!(
            "global\n  stats socket {}/admin.sock level admin\n  maxconn 500\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n\
             \x20 retries 3\n  option redispatch 1\n  retry-on conn-failure empty-response\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend millrace\n\
             backend millrace\n  balance leastconn\n",
            folder.display()
        );
        std::fs::write(folder.join("haproxy.cfg"), text).unwrap();
        let mut haproxy = Self { folder: folder.to_owned(), port, child: spawn(folder) };
        haproxy.listens().await;
        haproxy
    }

    async fn listens(&mut self) {
        let socket = self.folder.join("admin.sock");
        until("HAProxy's socket", async || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
    }

    /// What it was told at run time is lost.
    pub async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder);
        self.listens().await;
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Its part of the configuration.
    pub fn toml(&self) -> String {
        format!(
            "balancer = 'haproxy'\nhaproxy = {{ address = 'unix://{}/admin.sock', slow_start_secs = 2 }}\n",
            self.folder.display()
        )
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let mut command = Command::new("haproxy");
    command.env("PATH", path).arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
