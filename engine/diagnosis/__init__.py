"""What `olm info` shows and `olm doctor` checks: facts first, then judgements over them.

Nothing here needs a daemon or an engine that works: whatever may hang or crash is asked in another
process or thread, for a bounded time.
"""
