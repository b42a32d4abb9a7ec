"""Alerts: what the incidents topic tells, said once each to whoever has to know, through Apprise."""
