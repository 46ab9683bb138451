//! is not a stream of events
//! note: for `Result<Json<T>, E>`, implement `From<serde_json::Error>` for `E`

use futures_util::stream;
use http_sse::{Json, Sse};

struct Mine;

fn main() {
    let _ = Sse::new(stream::iter([Ok(Json(1)), Err(Mine)]));
}
