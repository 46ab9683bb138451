import openai

from each import each


def read(url, tell):
    client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)
    messages = [{"role": "user", "content": "?"}]
    for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
        if chunk.choices:
            tell(chunk.choices[0].delta.content)
        else:
            tell(chunk.to_dict())


each(read)
