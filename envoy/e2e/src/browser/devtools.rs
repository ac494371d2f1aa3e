//! Speaks the DevTools protocol: one WebSocket to the browser, with a session per target.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::wait::DEADLINE;

/// A connection to the browser.
#[derive(Debug)]
pub(super) struct Devtools {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Devtools {
    pub(super) async fn connect(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let uri = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tokio_tungstenite::client_async(uri, stream).await?;
        Ok(Self { socket, last_id: 0 })
    }

    /// Calls a method, of the browser or of a session, and returns its result. Events are not looked at.
    pub(super) async fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
    ) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let (Some(session), Some(message)) = (session, message.as_object_mut()) {
            message.insert("sessionId".to_owned(), json!(session));
        }
        self.socket.send(Message::text(message.to_string())).await?;
        let answer = tokio::time::timeout(DEADLINE, self.answer(id)).await;
        let mut answer = answer.with_context(|| format!("no answer to {method}"))??;
        if let Some(error) = answer.get("error") {
            bail!("{method} failed: {error}");
        }
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    /// Evaluates an expression in a session, waits for its promise, and returns the value.
    pub(super) async fn evaluate(&mut self, session: &str, expression: &str) -> Result<Value> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self
            .call(Some(session), "Runtime.evaluate", parameters)
            .await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("`{expression}` threw {thrown}");
        }
        let value = answer.pointer_mut("/result/value");
        Ok(value.map(Value::take).unwrap_or_default())
    }

    /// Opens a page and returns its target and a session on it.
    pub(super) async fn open(&mut self, url: &str) -> Result<(String, String)> {
        let target = self
            .call(None, "Target.createTarget", json!({ "url": url }))
            .await?;
        let target = text(&target, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).await?;
        Ok((target, text(&session, "sessionId")?))
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("the browser is gone")??;
            let Message::Text(text) = message else {
                continue;
            };
            let value: Value = serde_json::from_str(&text)?;
            if value.get("id").and_then(Value::as_u64) == Some(id) {
                return Ok(value);
            }
        }
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    let text = value.get(field).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no `{field}`"))?.to_owned())
}
