"""What is detected: recordings of real agents, a simulated fleet under attack, public sets of outliers."""
