"""What things cost, in whole nano-USD (a billionth of a dollar).

* prices: tokens of a provider's model into money
"""
