"""What other rules would have decided about actions that were recorded."""

from vaultak_streams.backtest.memory import Remembered, last_backtest, remember
from vaultak_streams.backtest.recording import backtest_recording
from vaultak_streams.backtest.report import Report
from vaultak_streams.backtest.store import backtest_store

__all__ = ["Remembered", "Report", "backtest_recording", "backtest_store", "last_backtest", "remember"]
