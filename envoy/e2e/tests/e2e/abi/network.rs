//! Connections through a network filter.

use anyhow::{Context, Result};
use tidegate_host::{
    ClosedBy, ConnectionId, ConnectionOutput, FailurePolicy, PluginConfig, StreamAttributes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::guest::{self, File, Real, Runner};

/// Writes every callback with both buffers. `p` stops until six bytes are there, `c` closes the connection.
const GUEST: &str = r#"
  (func $buffers
    (call $told (call $get_buffer (i32.const 2) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (call $told (call $get_buffer (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 20)))
    (call $flush))
  (func $first (result i32)
    (drop (call $get_buffer (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)))
    (if (result i32) (i32.load (i32.const 20))
      (then (i32.load8_u (i32.load (i32.const 16)))) (else (i32.const 0))))
  (func (export "proxy_on_new_connection") (param i32) (result i32)
    (call $puts @"new") (call $buffers) (i32.const 0))
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
    (call $puts @"down") (call $num (local.get 1)) (call $num (local.get 2)) (call $buffers)
    (if (i32.eq (call $first) (i32.const 0x63))
      (then (call $puts @"close") (call $num (call $close_stream (i32.const 2))) (call $flush)))
    (i32.and (i32.eq (call $first) (i32.const 0x70)) (i32.lt_u (local.get 1) (i32.const 6))))
  (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
    (call $puts @"up") (call $num (local.get 1)) (call $num (local.get 2)) (call $buffers) (i32.const 0))
  (func (export "proxy_on_downstream_connection_close") (param i32 i32)
    (call $puts @"down closed") (call $num (local.get 1)) (call $buffers))
  (func (export "proxy_on_upstream_connection_close") (param i32 i32)
    (call $puts @"up closed") (call $num (local.get 1)) (call $buffers))
  (func (export "proxy_on_done") (param i32) (result i32)
    (if (i32.gt_u (local.get 0) (i32.const 1)) (then (call $puts @"done") (call $flush))) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $puts @"log") (call $buffers))
  (func (export "proxy_on_delete") (param i32)
    (if (i32.gt_u (local.get 0) (i32.const 1)) (then (call $puts @"delete") (call $flush))))
"#;

/// A client and a server with Envoy and its guest between them, and the same guest in the runner.
struct Wire {
    client: TcpStream,
    server: TcpStream,
    real: Real,
    runner: Runner,
    connection: ConnectionId,
}

impl Wire {
    async fn open() -> Result<Self> {
        let module = guest::guest(GUEST)?;
        let file = File::new(&module)?;
        let upstream = TcpListener::bind(("127.0.0.1", 0)).await?;
        let cluster = guest::cluster("up", Some(upstream.local_addr()?));
        let mut real = Real::start(guest::connections(&file.plugin(), &cluster)?).await?;
        let client = TcpStream::connect(real.envoy.listener("edge")?).await?;
        let (server, _) = upstream.accept().await?;
        let mut runner = Runner::start(
            &module,
            PluginConfig::default(),
            |builder, module, config| builder.network_filter(module, config),
        )?;
        let connection = runner
            .proxy
            .open_connection(0, StreamAttributes::default())?;
        let expected = runner.lines();
        assert_eq!(real.lines(expected.len()).await?, expected);
        Ok(Self {
            client,
            server,
            real,
            runner,
            connection,
        })
    }

    /// The guest in Envoy wrote what the one in the runner did.
    async fn assert_same(&mut self) -> Result<()> {
        let expected = self.runner.lines();
        assert!(!expected.is_empty(), "nothing happened in the runner");
        assert_eq!(self.real.lines(expected.len()).await?, expected);
        Ok(())
    }

    async fn client_sends(&mut self, data: &str) -> Result<()> {
        self.client.write_all(data.as_bytes()).await?;
        self.runner
            .proxy
            .downstream_data(self.connection, data.as_bytes(), false)?;
        self.assert_same().await
    }

    async fn server_reads(&mut self, expected: &str) -> Result<()> {
        let mut read = vec![0; expected.len()];
        self.server.read_exact(&mut read).await?;
        assert_eq!(String::from_utf8_lossy(&read), expected);
        Ok(())
    }
}

#[tokio::test]
async fn connection_shows_the_same_callbacks_from_its_beginning_to_its_end() -> Result<()> {
    let mut wire = Wire::open().await?;
    wire.client_sends("hello").await?;
    wire.server_reads("hello").await?;
    wire.server.write_all(b"<hello").await?;
    wire.runner
        .proxy
        .upstream_data(wire.connection, b"<hello", false)?;
    wire.assert_same().await?;
    wire.client.shutdown().await?;
    wire.runner
        .proxy
        .downstream_data(wire.connection, b"", true)?;
    wire.assert_same().await?;
    // The server is done as well, and Envoy closes.
    wire.server.shutdown().await?;
    wire.runner
        .proxy
        .upstream_data(wire.connection, b"", true)?;
    wire.runner
        .proxy
        .close_connection(wire.connection, ClosedBy::Proxy)?;
    wire.assert_same().await?;
    assert_eq!(wire.real.stop().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn client_that_goes_away_last_is_the_remote_peer_in_both() -> Result<()> {
    let mut wire = Wire::open().await?;
    wire.server.write_all(b"bye").await?;
    wire.runner
        .proxy
        .upstream_data(wire.connection, b"bye", false)?;
    wire.assert_same().await?;
    wire.server.shutdown().await?;
    wire.runner
        .proxy
        .upstream_data(wire.connection, b"", true)?;
    wire.assert_same().await?;
    let mut rest = Vec::new();
    wire.client.read_to_end(&mut rest).await?;
    wire.client.shutdown().await?;
    wire.runner
        .proxy
        .downstream_data(wire.connection, b"", true)?;
    wire.runner
        .proxy
        .close_connection(wire.connection, ClosedBy::Client)?;
    wire.assert_same().await?;
    assert_eq!(wire.real.stop().await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn stopped_bytes_gather_in_both() -> Result<()> {
    let mut wire = Wire::open().await?;
    for part in ["pa", "bcd", "ef"] {
        wire.client_sends(part).await?;
    }
    wire.server_reads("pabcdef").await?;
    wire.real.stop().await?;
    Ok(())
}

#[tokio::test]
async fn guest_closes_the_connection_in_both() -> Result<()> {
    let mut wire = Wire::open().await?;
    wire.client_sends("c1").await?;
    let mut rest = Vec::new();
    wire.client.read_to_end(&mut rest).await?;
    assert_eq!(rest, b"");
    assert!(!wire.runner.proxy.is_connected(wire.connection));
    assert_eq!(wire.real.stop().await?, [""; 0]);
    Ok(())
}

/// Traps on a `t`.
const TRAPPING: &str = r#"
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
    (drop (call $get_buffer (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 20)))
    (if (i32.eq (i32.load8_u (i32.load (i32.const 16))) (i32.const 0x74)) (then (unreachable)))
    (i32.const 0))
"#;

/// Sends bytes over a new connection and returns what the server read until the connection's end, which the client
/// brings about where Envoy does not.
async fn through(
    edge: std::net::SocketAddr,
    upstream: &TcpListener,
    sent: &[u8],
) -> Result<(Vec<u8>, bool)> {
    let mut client = TcpStream::connect(edge).await?;
    client.write_all(sent).await?;
    let (mut server, _) = upstream.accept().await?;
    let mut first = [0; 16];
    let size = server.read(&mut first).await?;
    let passed = first.get(..size).unwrap_or_default().to_vec();
    let cut = size == 0 && client.read(&mut first).await.unwrap_or(0) == 0;
    Ok((passed, cut))
}

#[tokio::test]
async fn trap_cuts_its_own_connection_and_the_policy_decides_about_the_next() -> Result<()> {
    let module = guest::guest(TRAPPING)?;
    let file = File::new(&module)?;
    for (name, policy, next_passes) in [
        ("FAIL_OPEN", FailurePolicy::FailOpen, true),
        ("FAIL_CLOSED", FailurePolicy::FailClosed, false),
    ] {
        let upstream = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut plugin = file.plugin();
        plugin
            .as_object_mut()
            .context("a plugin is an object")?
            .insert("failure_policy".to_owned(), name.into());
        let cluster = guest::cluster("up", Some(upstream.local_addr()?));
        let real = Real::start(guest::connections(&plugin, &cluster)?).await?;
        let edge = real.envoy.listener("edge")?;
        let config = PluginConfig {
            failure_policy: policy,
            ..PluginConfig::default()
        };
        let mut runner = Runner::start(&module, config, |builder, module, config| {
            builder.network_filter(module, config)
        })?;
        let mut in_runner = |data: &[u8]| -> Result<(Vec<u8>, bool)> {
            let proxy = &mut runner.proxy;
            let connection = proxy.open_connection(0, StreamAttributes::default())?;
            if proxy.is_connected(connection) {
                proxy.downstream_data(connection, data, false)?;
            }
            let mut passed = Vec::new();
            while let Some(output) = proxy.poll_connection(connection) {
                if let ConnectionOutput::ToUpstream { data, .. } = output {
                    passed.extend(data);
                }
            }
            Ok((passed, !proxy.is_connected(connection)))
        };
        assert_eq!(in_runner(b"ok")?, (b"ok".to_vec(), false));
        assert_eq!(
            through(edge, &upstream, b"ok").await?,
            (b"ok".to_vec(), false)
        );
        let trapped = through(edge, &upstream, b"t").await?;
        assert_eq!(
            in_runner(b"t")?,
            trapped,
            "{name}: the connection that trapped"
        );
        assert!(trapped.1, "{name}: {trapped:?}");
        let next = in_runner(b"t")?;
        assert_eq!(!next.1, next_passes, "{name}");
        if next_passes {
            assert_eq!(through(edge, &upstream, b"t").await?, next, "{name}");
        } else {
            // Envoy does not even open a connection to the upstream.
            let mut client = TcpStream::connect(edge).await?;
            assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "{name}");
        }
        real.stop().await?;
    }
    Ok(())
}
