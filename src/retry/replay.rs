/// What the next attempt's body is made from.
pub(super) enum Replay<B> {
    Copy(B),
    Rebuild(Box<dyn Fn() -> B + Send + Sync>),
}
