export default function Worker() { return <h1>Worker</h1>; }
